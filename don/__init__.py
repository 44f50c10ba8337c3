"""Don: a crypto trading framework. The library; it imports no Ray, Gradio or FastAPI."""

__version__ = "0.1.0"
