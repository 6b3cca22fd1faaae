"""gripproxy: a realtime push proxy that speaks GRIP."""

__version__ = "0.1.0"
