"""From the bus to the hub: duplicates are dropped, order is restored, and what is due is delivered."""

from gripproxy.grip.item import Item
from gripproxy.hub import Hub


class Delivery:
    """The one place of a process where items come in."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def receive(self, realm: str, items: tuple[Item, ...]) -> None:
        """Take items from the bus, in their order."""
        for item in items:
            self._hub.deliver(realm, item)
