"""A backend that holds every request as a stream, and clients that are held."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.integration.serving import serving

LIMIT = 10.0  # seconds that a test waits for an answer


class Holder(BaseHTTPRequestHandler):
    """A backend that holds every request as a stream on the channel that its path names last."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Grip-Hold", "stream")
        self.send_header("Grip-Channel", self.path.rpartition("/")[2])
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"ready\n")

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextmanager
def holding_backend() -> Iterator[str]:
    """Runs the backend; gives its URL."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Holder)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


class Stream:
    """A client that is held as a stream, and what it got since."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.netloc, timeout=LIMIT)
        self.connection.request("GET", parts.path)
        self.response = self.connection.getresponse()
        assert b"ready\n" == self.response.readline()

    def line(self) -> bytes:
        return self.response.readline()

    def close(self) -> None:
        self.connection.close()
