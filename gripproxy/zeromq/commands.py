"""What can be asked at the command socket (Pushpin's handlerengine.cpp, conncheckworker.cpp, refreshworker.cpp).

    get-zmq-uris                   the addresses of the sockets
    publish      items             like the control door's
    recover                        forget what was delivered; the holds ask their backends
    refresh      cid or channel    WebSockets ask their backends
    conncheck    ids               which of these are held now

Whoever asks gets a reply, whatever it was: a REP socket without one is stuck, and so is a client that waits.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gripproxy.bus import Bus, cause_of
from gripproxy.config import Config
from gripproxy.errors import ItemError
from gripproxy.grip.zeromq import (
    BAD_REQUEST,
    CONDITIONS,
    ITEM_NOT_FOUND,
    METHOD_NOT_FOUND,
    SERVICE_UNAVAILABLE,
    Command,
    Reply,
    encode_reply,
    parse_command,
    parse_published,
)
from gripproxy.metrics import Metrics
from gripproxy.transports.holds import Hold, Holds
from gripproxy.transports.websocket import WebSocketHold
from gripproxy.zeromq.faults import log_fault
from gripproxy.zeromq.inputs import check_size
from gripproxy.zeromq.presence import Presence

log = logging.getLogger("gripproxy.zeromq")

# For the metrics: methods that there are not are one.
UNKNOWN = "unknown"


class Commands:
    """Does what is asked, in the realm of the inputs."""

    def __init__(
        self,
        config: Config,
        bus: Bus,
        metrics: Metrics,
        presence: Presence,
        holds: Holds,
        refresh: Callable[[list[Hold]], None],
    ) -> None:
        """``refresh(holds)`` has holds ask their backends, not all at once."""
        settings = config.zeromq
        self._realm = settings.realm
        self._bus = bus
        self._metrics = metrics
        self._presence = presence
        self._holds = holds
        self._refresh_holds = refresh
        # Libraries put their own host for the star.
        addresses = {"command": settings.command, "publish-pull": settings.pull}
        if not settings.sub_connect:
            addresses["publish-sub"] = next(iter(settings.sub), "")
        self._addresses = {
            name: address.replace("//0.0.0.0:", "//*:") for name, address in addresses.items() if address
        }
        self._methods: dict[str, Callable[[Mapping[str, Any]], Awaitable[Reply]]] = {
            "get-zmq-uris": self._tell_addresses,
            "publish": self._publish,
            "recover": self._recover,
            "refresh": self._refresh,
            "conncheck": self._check,
        }
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take items by other limits from now on."""
        self._item_max = config.realms[self._realm].max_item

    async def answer(self, parts: list[bytes]) -> bytes:
        """Do what a message asks, and return the reply."""
        command = parse_command(parts[0]) if len(parts) == 1 else None
        if command is None:
            return self._reply(UNKNOWN, None, Reply(None, BAD_REQUEST))
        do = self._methods.get(command.method)
        if do is None:
            return self._reply(UNKNOWN, command, Reply(None, METHOD_NOT_FOUND))
        try:
            reply = await do(command.args)
        except Exception:
            log.exception("zeromq.command: %s failed", command.method)
            reply = Reply(None, SERVICE_UNAVAILABLE)
        return self._reply(command.method, command, reply)

    def _reply(self, method: str, command: Command | None, reply: Reply) -> bytes:
        assert not reply.condition or reply.condition in CONDITIONS
        self._metrics.zeromq_commands[method, reply.condition or "success"] += 1
        return encode_reply(command, reply)

    async def _tell_addresses(self, args: Mapping[str, Any]) -> Reply:
        return Reply(dict(self._addresses))

    async def _publish(self, args: Mapping[str, Any]) -> Reply:
        if self._bus.is_full:
            reason = "too much is published and not written yet (limits.backlog)"
            log_fault("command", f"refused to publish: {reason}")
            return Reply(reason, SERVICE_UNAVAILABLE)
        try:
            items = parse_published(args)
            for index, item in enumerate(items):
                check_size(item, self._item_max, f"Invalid format: items[{index}]")
        except ItemError as error:
            log_fault("command", f"refused to publish: {error}")
            return Reply(str(error), BAD_REQUEST)
        reply = await self._over_the_bus(self._bus.publish(self._realm, items))
        if not reply.condition:
            self._metrics.count_items(items)
        return reply

    async def _recover(self, args: Mapping[str, Any]) -> Reply:
        log.info("realm %s: recovering", self._realm)
        return await self._over_the_bus(self._bus.recover(self._realm))

    async def _over_the_bus(self, sending: Awaitable[None]) -> Reply:
        try:
            await sending
        except Exception as error:
            self._metrics.bus_errors += 1
            if not isinstance(error, OSError):
                raise
            reason = f"the bus is unavailable ({cause_of(error)})"
            log_fault("command", reason)
            return Reply(reason, SERVICE_UNAVAILABLE)
        return Reply()

    async def _refresh(self, args: Mapping[str, Any]) -> Reply:
        name = args.get("cid", args.get("channel"))
        if type(name) is not bytes:
            return Reply(None, BAD_REQUEST)
        text = name.decode("utf-8", "replace")
        if "cid" not in args:
            subscribers = self._holds.hub.subscribers(self._realm, text)
            self._refresh_holds([one for one in subscribers if isinstance(one, WebSocketHold)])
            return Reply()
        hold = self._presence.websocket(text)
        if hold is None:
            return Reply(None, ITEM_NOT_FOUND)
        hold.refresh()
        return Reply()

    async def _check(self, args: Mapping[str, Any]) -> Reply:
        names = args.get("ids")
        if type(names) is not list or any(type(name) is not bytes for name in names):
            return Reply(None, BAD_REQUEST)
        presence = self._presence
        return Reply([name for name in dict.fromkeys(names) if name.decode("utf-8", "replace") in presence])
