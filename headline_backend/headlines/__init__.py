"""Headlines: create, read, change, and hear of changes by long-poll, stream or WebSocket on the same URL."""
