"""The other side of a client's WebSocket, as the client's side sees it.

It is `over_http.OverHttp` (requests to a backend) or `passthrough.Passthrough` (a WebSocket of the backend's own).
"""

from typing import Protocol

from gripproxy.grip.events import Event


class Leg(Protocol):
    """The other side of a client's WebSocket."""

    def receive(self, event: Event) -> None:
        """Take what the client sent; DISCONNECT when it is lost."""

    def refresh(self) -> None:
        """Ask the backend whether it has something to say."""

    def release(self) -> None:
        """Forget the client, who is gone; the backend may still have to be told so."""

    @property
    def answered(self) -> int | None:
        """The moment of the answer that is being obeyed; None where the backend is obeyed at once."""

    @property
    def is_full(self) -> bool:
        """Whether the client should not be read for now."""

    @property
    def uri(self) -> str:
        """What the client asked for, absolute: URLs of filters are relative to it."""

    def on_due(self) -> None:
        """Do what is due, and say by `WebSocketHold.wake_at` when to be called again."""
