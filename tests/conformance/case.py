"""What a case works with: short words for asking through the proxy, publishing, and scripting the backend.

`settle` takes the place of sleeping: a hold that the backend has answered shows nothing to the outside until it is
published to, so the case sends another hold after it and waits for that one to be visible.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conformance.backend import Backend, Reply, Request, Script
from tests.conformance.client import Connection, Response, fetch, json_body
from tests.conformance.proxies import PROXIES, Proxy, another

NUMBERS = itertools.count(1)


def held(channel: str, body: bytes = b"", mode: str = "stream", **fields: str) -> Reply:
    """A hold by header fields; underscores in names stand for hyphens."""
    named = [(name.replace("_", "-"), value) for name, value in fields.items()]
    return Reply(body, [("Content-Type", "text/plain"), ("Grip-Hold", mode), ("Grip-Channel", channel), *named])


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Whether a condition that nothing tells of comes true in that time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Spare:
    """A host with a backend of its own, which is not there before `start` and can be stopped and started again."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self._port = host, port
        self._backend: Backend | None = None

    def start(self) -> Backend:
        self._backend = Backend(self._port)
        return self._backend

    def stop(self) -> None:
        if self._backend:
            self._backend.stop()


class Case:
    """One case's view of proxy and backend."""

    def __init__(self, proxy: Proxy, backend: Backend, name: str, deadline: float) -> None:
        self.proxy, self.backend, self.deadline = proxy, backend, deadline
        self.path, self.channel = "/" + name, name
        self._connections: list[Connection] = []
        self._spares: list[Spare] = []

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        for spare in self._spares:
            spare.stop()

    # --- backend

    def answer(self, *scripts: Script, at: str = "") -> None:
        """What the backend answers at the case's path (and `at` behind it); the last one again and again."""
        self.backend.on(self.path + at, *scripts)

    def taken(self, at: str = "") -> Request:
        """The next request that reached the backend."""
        return self.backend.take(self.path + at.partition("?")[0], self.deadline)

    def spare(self) -> Spare:
        """A host that no other case uses."""
        if not self.proxy.has_routes:
            pytest.skip("the routes of a given proxy are not known")
        self._spares.append(Spare(*self.proxy.spares.pop()))
        return self._spares[-1]

    @contextmanager
    def with_another_proxy(self, **settings: object) -> Iterator["Case"]:
        """This case at a proxy that nobody else uses."""
        if self.proxy.name not in PROXIES:
            pytest.skip("the suite cannot start a proxy like the given one")
        with another(self.proxy, self.backend, **settings) as proxy:
            case = Case(proxy, self.backend, self.channel, self.deadline)
            try:
                yield case
            finally:
                case.close()

    # --- client

    def connect(self) -> Connection:
        connection = self.proxy.connect(self.deadline)
        self._connections.append(connection)
        return connection

    def ask(self, at: str = "", **options: Any) -> Connection:
        """Sends a request and does not wait for the answer."""
        return self.connect().request(self.path + at, **options)

    def get(self, at: str = "", **options: Any) -> Response:
        """Sends a request and reads the whole answer."""
        connection = self.ask(at, **options)
        response = connection.read_response(options.get("method", "GET"))
        connection.close()
        return response

    def stream(self, at: str = "", **options: Any) -> Connection:
        """Asks for a stream and waits until it is there (head read)."""
        connection = self.ask(at, **options)
        head = connection.read_head()
        assert head.status == 200, head
        return connection

    def poll(self, at: str = "", **options: Any) -> Connection:
        """Asks for a long-poll and waits until it is held."""
        connection = self.ask(at, **options)
        self.taken(at)
        self.settle()
        return connection

    def socket(self, at: str = "", **options: Any) -> Connection:
        """Opens a WebSocket and waits until its first subscriptions are in effect."""
        connection = self.connect()
        head = connection.upgrade(self.path + at, **options)
        assert head.status == 101, head
        self.settle()
        return connection

    def settle(self) -> None:
        """Returns when everything that the backend has answered until now is held."""
        for _ in range(2):
            path = f"/settle/{next(NUMBERS)}"
            self.backend.on(path, held(f"settle-{path}"))
            probe = self.proxy.connect()
            probe.request(path).read_head()
            probe.close()

    # --- publisher

    def control(self, path: str, method: str = "POST", **options: Any) -> Response:
        return fetch(*self.proxy.control, path, method, **options)

    def post(self, body: bytes, path: str = "/publish/", fields: Sequence[tuple[str, str]] = ()) -> Response:
        """Sends a body to the control door."""
        return self.control(path, fields=[("Content-Type", "application/json"), *fields], body=body)

    def publish(self, *items: dict[str, Any], channel: str | None = None) -> None:
        """Publishes items to the case's channel, all in one request; it must succeed."""
        whole = [{"channel": channel or self.channel} | item for item in items]
        response = self.post(json_body({"items": whole}))
        assert response.status == 200, response

    def say(self, *contents: str, channel: str | None = None, **members: Any) -> None:
        """Publishes text to streams; keyword members belong to the item (underscores stand for hyphens)."""
        extra = {name.replace("_", "-"): value for name, value in members.items()}
        self.publish(*({"http-stream": {"content": text}} | extra for text in contents), channel=channel)

    def tell(self, *contents: str, channel: str | None = None, **members: Any) -> None:
        """Publishes text to WebSockets."""
        extra = {name.replace("_", "-"): value for name, value in members.items()}
        self.publish(*({"ws-message": {"content": text}} | extra for text in contents), channel=channel)

    def resolve(self, body: str, channel: str | None = None, **members: Any) -> None:
        """Publishes a response to long-polls; keyword members belong to the response."""
        self.publish({"http-response": {"body": body} | members}, channel=channel)
