"""The control door: where backends publish, and where people and machines look at the proxy.

    POST /publish/  /realm/NAME/publish/  /service/NAME/publish/      items for the realm (``/publish/``: "default")
    POST /recover/  /realm/NAME/recover/                              forget what was delivered, refresh the holds
    POST /reload/                                                     read the configuration again
    GET  /realm/NAME/subscriptions/items/  .../stream/                which channels have subscribers
    GET  /realm/NAME/channels/  .../channels/CHANNEL/                 and how many
    GET  /  /health  /ready  /metrics  /routes/

Everything is checked before anything is published, and a batch goes out whole or not at all. After it went out the
answer is 200, whatever happens next: client libraries repeat a POST that was answered with 500, 502, 503 or 504.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import cast

from aiohttp import hdrs, web

from gripproxy.audience import Audience
from gripproxy.auth import Publishers, challenge
from gripproxy.bus import Bus, cause_of
from gripproxy.changes import Outcome
from gripproxy.config import DEFAULT_REALM, Config
from gripproxy.control.answer import (
    CONTENT_TYPES,
    JSON,
    TEXT,
    Answer,
    Members,
    RefusalError,
    encode_answer,
    encode_body,
    negotiate,
)
from gripproxy.control.facts import encode_routes
from gripproxy.control.monitor import Monitor
from gripproxy.control.presence import Presence
from gripproxy.control.receipt import encode_receipt, parse_wait
from gripproxy.control.request import (
    NOT_FOUND,
    Target,
    check_content,
    check_method,
    is_local,
    read_body,
    request_log,
    resolve,
)
from gripproxy.errors import AuthError, GripError, ItemError
from gripproxy.grip.fields import Fields
from gripproxy.grip.item import Item, parse_items
from gripproxy.metrics import CONTENT_TYPE as METRICS_TYPE
from gripproxy.metrics import Metrics
from gripproxy.receipts import Receipt
from gripproxy.routes import Route
from gripproxy.subscriptions import Subscriptions

__all__ = ["KEEP_ALIVE_GRACE", "Control", "request_log"]

log = logging.getLogger("gripproxy.control")

# Seconds that an idle connection is kept beyond what is announced: a client who believes the announcement never sends
# into a connection that is just being closed. Node does not repeat a POST that was lost that way.
KEEP_ALIVE_GRACE = 5.0

# Characters of an error text that are sent or logged; it may quote what a publisher sent.
ERROR_MAX = 1000

# Fastly's publishers may send their token under this name.
FASTLY_KEY = "Fastly-Key"

FULL = "Too much is published and not written to its subscribers yet (limits.backlog); nothing was published."

# The publisher may repeat at once. The wait is short: pypubcontrol sleeps it inside the request that publishes.
RETRY_SOON: Fields = ((b"Retry-After", b"1"),)


Endpoint = Callable[[web.BaseRequest, Target, str | None], Awaitable[Answer | web.StreamResponse]]


class Control:
    """Answers the requests that come in at the control door; ``handle`` is made for a bare ``aiohttp.web.Server``."""

    def __init__(
        self,
        config: Config,
        publishers: Publishers,
        bus: Bus,
        metrics: Metrics,
        clock: Callable[[], float],
        subscriptions: Subscriptions,
        reload: Callable[[], Awaitable[Outcome]],
        audience: Audience,
        routes: Iterable[Route],
    ) -> None:
        """``clock`` tells the seconds since the epoch; ``reload()`` reads the configuration again."""
        self.configure(config)
        self._reload = reload
        self._routes = routes
        self._idle_time = int(config.control.keepalive_timeout)
        self._publishers = publishers
        self._bus = bus
        self._metrics = metrics
        self._clock = clock
        self._monitor = Monitor(subscriptions)
        self._presence = Presence(audience)
        # Why no new work should come here, for /ready; the server says so while it starts and while it drains.
        self.unready = ""
        # The same, of what may go wrong in between.
        self.doubt: Callable[[], str] = lambda: ""
        self._endpoints: dict[str, Endpoint] = {
            "about": self._tell_about,
            "health": self._tell_health,
            "ready": self._tell_ready,
            "metrics": self._tell_metrics,
            "publish": self._publish,
            "recover": self._recover_realm,
            "subscriptions": self._list_subscriptions,
            "subscription-stream": self._stream_subscriptions,
            "reload": self._reload_configuration,
            "channels": self._list_channels,
            "audience": self._count_audience,
            "routes": self._list_routes,
        }

    def configure(self, config: Config) -> None:
        """Go on by a configuration, from the next request on; its keys are those of the publishers by then."""
        self._body_max = config.control.max_body
        self._item_max = {name: realm.max_item for name, realm in config.realms.items() if realm.max_item}
        self._has_metrics = config.control.metrics

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; every refusal is an answer too, in the form that was asked for."""
        accept = request.headers.getall(hdrs.ACCEPT, None)
        form = negotiate(", ".join(accept)) if accept else TEXT
        target = resolve(request.raw_path)
        answer: Answer | web.StreamResponse
        try:
            check_method(request.method, target.endpoint)
            answer = await self._endpoints[target.endpoint](request, target, form)
        except RefusalError as refusal:
            answer = self._refuse(request, target, form, refusal)
        except AuthError as error:
            fields: Fields = ((b"WWW-Authenticate", challenge(target.realm).encode()),) if error.status == 401 else ()
            answer = self._refuse(request, target, form, RefusalError(error.status, str(error), fields))
        except ItemError as error:
            answer = self._refuse(request, target, form, RefusalError(400, str(error), members=place_of(error)))
        except GripError as error:
            answer = self._refuse(request, target, form, RefusalError(error.status, str(error)))
        # aiohttp asks a response for no more than an Answer has.
        return cast(web.StreamResponse, answer)

    async def _publish(self, request: web.BaseRequest, target: Target, form: str | None) -> Answer:
        realm = target.realm
        self._admit(request, realm, form)
        check_content(request)
        wait = parse_wait(request.query.get("wait")) if "?" in request.raw_path else None
        body = await read_body(request, self._body_max)
        if self._bus.is_full:
            raise RefusalError(429, FULL, RETRY_SOON)
        items = parse_items(body)
        if realm in self._item_max:
            check_sizes(items, self._item_max[realm])
        receipt = Receipt(items) if wait is not None else None
        try:
            if receipt is None:
                await self._bus.publish(realm, items)
            else:
                await self._bus.publish(realm, items, receipt)
        except Exception as error:
            raise self._unavailable(realm, error) from error
        self._count(items, len(body))
        if log.isEnabledFor(logging.DEBUG):
            log.debug("realm %s: published %d items to %s", realm, len(items), [item.channel for item in items[:10]])
        if receipt is not None and wait is not None:
            return self._answer_json(request, await encode_receipt(receipt, wait))
        return self._answer(request, 200, form, "Published")

    async def _recover_realm(self, request: web.BaseRequest, target: Target, form: str | None) -> Answer:
        self._admit(request, target.realm, form)
        log.info("realm %s: recovering", target.realm)
        try:
            await self._bus.recover(target.realm)
        except OSError as error:
            raise self._unavailable(target.realm, error) from error
        self._metrics.publishes["200"] += 1
        return self._answer(request, 200, form, "Updated")

    async def _reload_configuration(self, request: web.BaseRequest, target: Target, form: str | None) -> Answer:
        self._admit(request, DEFAULT_REALM, form)
        if self.unready:
            raise RefusalError(503, self.unready)
        outcome = await self._reload()
        if outcome.result == "refused":
            raise RefusalError(422, outcome.text)
        return self._answer(request, 200, form, outcome.text)

    async def _list_subscriptions(self, request: web.BaseRequest, target: Target, form: str | None) -> Answer:
        self._authorize(request, target.realm)
        return self._answer_json(request, self._monitor.items(target.realm, request.query.get("since")))

    async def _stream_subscriptions(
        self, request: web.BaseRequest, target: Target, form: str | None
    ) -> web.StreamResponse:
        self._authorize(request, target.realm)
        keys = self._publishers.keys(target.realm)

        def is_welcome() -> bool:
            """Whether the realm is there still, and so are its keys: the client may have been let in by any of them."""
            return target.realm in self._publishers and keys <= self._publishers.keys(target.realm)

        return await self._monitor.stream(target.realm, request, is_welcome)

    async def _list_channels(self, request: web.BaseRequest, target: Target, form: str | None) -> Answer:
        self._authorize(request, target.realm)
        return self._answer_json(request, await self._presence.channels(target.realm, request.query))

    async def _count_audience(self, request: web.BaseRequest, target: Target, form: str | None) -> Answer:
        self._authorize(request, target.realm)
        return self._answer_json(request, self._presence.channel(target.realm, target.channel))

    async def _list_routes(self, request: web.BaseRequest, target: Target, form: str | None) -> Answer:
        if not is_local(request):
            self._authorize(request, DEFAULT_REALM)
        return self._answer_json(request, encode_routes(self._routes))

    async def _tell_about(self, request: web.BaseRequest, target: Target, form: str | None) -> Answer:
        return self._answer(request, 200, form, "gripproxy control")

    async def _tell_health(self, request: web.BaseRequest, target: Target, form: str | None) -> Answer:
        return self._answer(request, 200, form, "ok")

    async def _tell_ready(self, request: web.BaseRequest, target: Target, form: str | None) -> Answer:
        if reason := self.why_unready():
            raise RefusalError(503, reason, RETRY_SOON)
        return self._answer(request, 200, form, "ready")

    def why_unready(self) -> str:
        """Say why no new work should come here, "" where it may."""
        return self.unready or self.doubt()

    async def _tell_metrics(self, request: web.BaseRequest, target: Target, form: str | None) -> Answer:
        if not self._has_metrics:
            raise RefusalError(404, "Metrics are switched off (control.metrics).")
        if not is_local(request):
            self._authorize(request, DEFAULT_REALM)
        idle_time = self._idle_time if request.keep_alive else None
        body = self._metrics.exposition()
        return encode_body(200, METRICS_TYPE.encode(), body, idle_time, head_only=request.method == "HEAD")

    def _unavailable(self, realm: str, error: Exception) -> RefusalError:
        """Return the refusal when the bus fails: it promises that nothing went out, so the publisher may repeat it."""
        self._metrics.bus_errors += 1
        if not isinstance(error, OSError):
            log.error("realm %s: the bus failed", realm, exc_info=error)
        return RefusalError(503, f"The bus is unavailable ({cause_of(error)}).", RETRY_SOON)

    def _admit(self, request: web.BaseRequest, realm: str, form: str | None) -> None:
        """Raises: RefusalError or AuthError for who takes no answer of ours, or may not write to the realm."""
        if form is None:
            raise RefusalError(406, "Not Acceptable. Supported formats are text/plain and application/json.")
        self._authorize(request, realm)

    def _authorize(self, request: web.BaseRequest, realm: str) -> None:
        if realm not in self._publishers:
            raise RefusalError(404, f"There is no realm {realm!r}.")
        headers = request.headers
        credentials = headers.get(hdrs.AUTHORIZATION) or headers.get(FASTLY_KEY)
        if hdrs.ORIGIN in headers and not credentials:
            # Any page that is open in a browser on this machine can POST here, and would come from loopback.
            raise RefusalError(403, "A request that a web page makes (it has Origin) needs credentials.")
        self._publishers.check(realm, credentials, is_local(request), self._clock())

    def _count(self, items: tuple[Item, ...], size: int) -> None:
        metrics = self._metrics
        metrics.publishes["200"] += 1
        metrics.publish_bytes += size
        metrics.count_items(items)

    def _answer(self, request: web.BaseRequest, status: int, form: str | None, text: str) -> Answer:
        idle_time = self._idle_time if request.keep_alive else None
        return encode_answer(status, form, text, idle_time, (), request.method == "HEAD")

    def _answer_json(self, request: web.BaseRequest, body: bytes) -> Answer:
        idle_time = self._idle_time if request.keep_alive else None
        return encode_body(200, CONTENT_TYPES[JSON], body, idle_time, head_only=request.method == "HEAD")

    def _refuse(self, request: web.BaseRequest, target: Target, form: str | None, refusal: RefusalError) -> Answer:
        text = str(refusal)[:ERROR_MAX]
        # A POST to an unknown URL is mostly a publish with a mistake in GRIP_URL.
        is_lost = target.endpoint in NOT_FOUND and request.method == "POST"
        if is_lost or target.endpoint in ("publish", "recover"):
            self._metrics.publishes[str(refusal.status)] += 1
        if is_lost:
            log_refusal(refusal.status, replace(target, endpoint="publish"), request.protocol.peername, text)
        elif target.endpoint in ("publish", "recover", "reload"):
            log_refusal(refusal.status, target, request.protocol.peername, text)
        idle_time = None if refusal.is_last or not request.keep_alive else self._idle_time
        is_head = request.method == "HEAD"
        return encode_answer(refusal.status, form, text, idle_time, refusal.fields, is_head, refusal.members)


def log_refusal(status: int, target: Target, peer: object, text: str) -> None:
    """Log what a publisher was refused, as most libraries do not show it to their user.

    ``text`` may quote what a stranger sent, so it is escaped.
    """
    shown = text.encode("unicode_escape").decode()
    realm = target.realm[:100].encode("unicode_escape").decode()
    address = str(peer[0]) if isinstance(peer, tuple) else "unix"
    extra = {"realm": realm, "peer": address, "status": status}
    log.warning("realm %s: refused to %s for %s: %d %s", realm, target.endpoint, address, status, shown, extra=extra)


def check_sizes(items: tuple[Item, ...], item_max: int) -> None:
    """Raises: RefusalError naming the first item with a content larger than the realm allows."""
    for index, item in enumerate(items):
        if item.content_size > item_max:
            text = f"items[{index}]: a content is larger than {item_max} bytes (the realm's max_item)."
            raise RefusalError(413, text, members=(("item", index),))


def place_of(error: ItemError) -> Members:
    """Return which item of a batch is wrong, and which member of it, as JSON's members."""
    item: Members = (("item", error.item),) if error.item is not None else ()
    return item + ((("field", error.field),) if error.field else ())
