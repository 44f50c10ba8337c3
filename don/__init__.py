"""Don: a crypto trading framework. The library; it imports no Ray, Gradio or FastAPI."""

from don.compiled import place as _place

__version__ = "0.1.0"

_place()  # before any module makes a kernel
