"""HTTP: the API, the live stream and the console, on Ray Serve. Parse, ask, answer."""
