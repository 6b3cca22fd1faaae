"""The house: builds every object, listens, and ends it all in good order."""

import asyncio
import errno
import logging
import os
import secrets
import signal
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from aiohttp import web

from gripproxy import __version__
from gripproxy.audience import Audience
from gripproxy.backend import Backend
from gripproxy.backend.health import Checks
from gripproxy.bus import make_bus
from gripproxy.bus.local import LocalBus
from gripproxy.canary import Canary
from gripproxy.changes import Outcome
from gripproxy.collector import Collector
from gripproxy.config import Config, parse_address, warnings
from gripproxy.config.source import Source
from gripproxy.control import KEEP_ALIVE_GRACE, Control, request_log
from gripproxy.control.tls import control_tls
from gripproxy.delivery import Delivery
from gripproxy.drain import HANDLER_GRACE, drain, finish
from gripproxy.hub import EACH, Hub
from gripproxy.logs import configure, sum_up
from gripproxy.metrics import ROUTES_MAX, Metrics
from gripproxy.notify import notify
from gripproxy.proxy import Proxy
from gripproxy.reload import Reload
from gripproxy.resolved import Resolved, resolve_config
from gripproxy.routes import Route, Routes
from gripproxy.sessions import Sessions
from gripproxy.subscriptions import Subscriptions
from gripproxy.transports.connections import Connections
from gripproxy.transports.holds import Holds
from gripproxy.transports.wheel import Wheel
from gripproxy.zeromq import Zeromq

log = logging.getLogger("gripproxy.server")

# Bytes that the kernel holds for a client and has not sent: a stalled client can't pin more than this beside what is
# in flight. The option is inherited by accepted connections, so it costs no call for each.
NOTSENT_LOWAT = 131_072

# Milliseconds after which a peer that acknowledges nothing is gone (Linux), whatever its application does.
USER_TIMEOUT = 30_000

# Seconds for which a body that nobody wants is read, so that its client gets to read the answer (RFC 9112 9.6).
LINGERING_TIME = 2.0

# Why an address can't be listened on, by the error's number, where the system's words leave open what to do.
WHY_NOT = {
    errno.EADDRINUSE: "it is in use; another gripproxy?",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EACCES: "permission denied; ports below 1024 need CAP_NET_BIND_SERVICE, Unix sockets a folder to write to",
    errno.ENOENT: "there is no such folder",
}

# What listen(2) takes; the kernel has a limit of its own, far below.
BACKLOG_MAX = 2**31 - 1

# Descriptors beside clients: listeners, logs, backends.
RESERVED_FILES = 256


class Server:
    """One process of gripproxy."""

    def __init__(self, config: Config, source: Source) -> None:
        """``source`` is where the configuration comes from, to be read again."""
        self._config = config
        self._source = source

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then end the holds and return. SIGHUP has the configuration read again.

        Raises: ConfigError, also when an address can't be listened on.
        """
        config = self._config
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        hurry = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            # The first asks for an end in good order, the second for one at once.
            loop.add_signal_handler(number, lambda: (hurry if stop.is_set() else stop).set())
        has_terminal = os.isatty(0)

        def hang_up() -> None:
            if has_terminal and not os.isatty(0):
                stop.set()  # nobody is there any more who could end what was started by hand
            else:
                reload.ask("SIGHUP")

        loop.add_signal_handler(signal.SIGHUP, hang_up)
        most = max(RESERVED_FILES, raise_file_limit() - RESERVED_FILES)

        metrics = Metrics()
        hub = Hub(loop, on_error=_log_fault)
        wheel = Wheel(loop, on_tick=lambda tick: setattr(hub, "tick", tick), on_error=_log_fault)
        random_key = secrets.token_bytes(32)
        start = resolve_config(config, random_key)
        routes, certificates = start.routes, start.certificates
        metrics.know_routes(route.id for route in routes)
        on_request, on_retry = _counters(metrics)
        backend = Backend(on_request=on_request, on_retry=on_retry, current=routes.current)
        checks = Checks(backend, routes)
        proxy = Proxy(config, routes, backend, metrics)
        connections = Connections(
            proxy.handle,
            limit=config.limits.connections or most,
            on_malformed=proxy.count,
            handler_cancellation=True,
            keepalive_timeout=config.server.keepalive_timeout,
            tcp_keepalive=False,
            access_log=None,
            logger=request_log("gripproxy.http"),
            lingering_time=LINGERING_TIME,
            auto_decompress=False,
            max_line_size=config.limits.request_header,
            max_field_size=config.limits.request_header,
        )
        sessions = Sessions(config.limits, realms_with_sessions(routes))
        delivery = Delivery(hub, config.limits, metrics, loop, sessions)
        holds = Holds(
            hub,
            wheel,
            delivery,
            connections,
            config.limits,
            metrics,
            config.server.keepalive_timeout,
            on_end=proxy.endings.on_end,
            ask=proxy.endings.ask,
            sessions=sessions,
        )
        proxy.connections = connections
        proxy.holds = proxy.opening.holds = proxy.endings.holds = holds

        def recover(realm: str | None) -> None:
            delivery.recover(realm)
            proxy.endings.refresh(realm)

        canary = Canary(hub, metrics, config.control.canary_interval, loop.time)
        sink = canary.sink(delivery.receive)

        def has_room() -> bool:
            return not delivery.is_full

        bus = make_bus(config, sink, recover, metrics, has_room)
        own = LocalBus(sink, metrics, recover, has_room)
        instance = secrets.token_hex(4)
        subscriptions = Subscriptions(loop, hub.channels, config.limits.subscription_linger, instance)

        def on_channel(realm: str, channel: str, has_subscribers: bool) -> None:
            subscriptions.on_channel(realm, channel, has_subscribers)
            if not has_subscribers:
                delivery.forget_channel(realm, channel)

        hub.on_channel = on_channel

        async def ask_to_reload() -> Outcome:
            return await asyncio.shield(reload.ask("a request at the control door"))

        control = Control(
            config, start.publishers, bus, metrics, time.time, subscriptions, ask_to_reload, Audience(hub), routes
        )
        control.doubt = lambda: canary.doubt
        publishers = web.Server(
            control.handle,
            keepalive_timeout=config.control.keepalive_timeout + KEEP_ALIVE_GRACE,
            access_log=None,
            logger=request_log("gripproxy.http"),
            # aiohttp knows other encodings, some only with further libraries, and takes what is cut off.
            auto_decompress=False,
        )
        zeromq = Zeromq(config, bus, own, subscriptions, metrics, holds, proxy.endings.refresh_some, instance)
        proxy.on_request = zeromq.on_request

        def take(new: Resolved) -> None:
            """Go on by a new configuration: nothing here waits, and nothing can fail."""
            config, limits = new.config, new.config.limits
            routes.become(new.routes)
            start.publishers.become(new.publishers)
            certificates.become(new.certificates)
            metrics.know_routes(route.id for route in routes)
            backend.renew()
            checks.configure(routes)
            proxy.configure(config)
            connections.configure(limits.connections or most, config.server.keepalive_timeout, limits.request_header)
            holds.limits, holds.keepalive_timeout = limits, config.server.keepalive_timeout
            sessions.configure(limits, realms_with_sessions(routes))
            delivery.configure(limits)
            subscriptions.configure(limits.subscription_linger)
            control.configure(config)
            zeromq.configure(config)
            if config.log != self._config.log:
                configure(config.log)
            self._config = config

        reload = Reload(self._source, start, random_key, take, metrics, tell=notify)
        held = metrics.connections
        metrics.watch("connections", lambda: {("", "http"): connections.open - len(holds.open), **held})
        metrics.watch("connections_max", lambda: self._config.limits.connections or most)
        metrics.watch("accepted", lambda: connections.accepted)
        metrics.watch("refused", lambda: connections.refused)
        # The canary is nobody's subscriber.
        metrics.watch("deliveries", lambda: {**hub.deliveries, EACH: hub.deliveries[EACH] - canary.deliveries})
        metrics.watch("channels", lambda: len(hub.channels) - canary.subscriptions)
        metrics.watch("subscriptions", lambda: hub.subscriptions - canary.subscriptions)
        metrics.watch("delivery_lag", lambda: canary.lag)
        metrics.watch("ready", lambda: int(not control.why_unready()))
        metrics.watch("passes", lambda: hub.passes)
        metrics.watch("sessions", lambda: sessions.count(loop.time()))
        metrics.watch("session_drops", lambda: sessions.drops)
        metrics.watch("certificates", lambda: certificates.seconds_left(time.time()))
        metrics.watch("backlog", lambda: hub.backlog)
        metrics.watch("backend_up", checks.up)

        tls = certificates.listener() if certificates else None
        client_doors = [
            await self._listen("server.listen", address, connections.accept, tls=tls)
            for address in config.server.listen
        ]
        control_door = await self._listen("control.listen", config.control.listen, publishers, tls=control_tls(config))
        try:
            zeromq.open()
        except OSError as error:
            raise config.error("zeromq", f"cannot use {error.strerror}") from None
        inputs = asyncio.create_task(zeromq.run(), name="the ZeroMQ inputs")
        carrier = asyncio.create_task(bus.run(), name="the bus")
        reloading = asyncio.create_task(reload.run(), name="reloading")
        checking = asyncio.create_task(checks.run(), name="the health checks")
        singing = asyncio.create_task(canary.run(bus), name="the canary")
        summing = asyncio.create_task(sum_up(), name="sums in the log")
        for task in (inputs, carrier, reloading, checking, singing, summing):
            task.add_done_callback(_log_end)
        for text in (*warnings(config), *certificates.warnings(time.time())):
            log.warning("%s", text)
        if len({route.id for route in routes}) >= ROUTES_MAX:
            log.warning("only the first %d routes have metrics of their own, the others count together", ROUTES_MAX - 1)
        for name in sorted({route.realm for route in routes}):
            if not config.realms[name].key:
                log.info("realm %s has no key: publishes are taken from this machine only", name)
        log.info(
            "gripproxy %s: clients on %s, control on %s, %s",
            __version__,
            ", ".join(config.server.listen),
            config.control.listen,
            type(loop).__module__.partition(".")[0],
        )
        collector = Collector(loop, lambda: connections.requests_count + publishers.requests_count)
        collector.start()
        notify("READY=1")
        try:
            await stop.wait()
        finally:
            log.info("stopping: %d clients are held", len(holds.open))
            notify("STOPPING=1")
            control.unready = "The proxy is stopping."
            reloading.cancel()
            config = self._config
            for door in client_doors:
                door.close()
            connections.pre_shutdown()
            end = loop.time() + config.server.shutdown_timeout + HANDLER_GRACE
            await drain(holds, config.server.shutdown_timeout, hurry)
            await finish(holds, connections, hurry, max(0.0, end - loop.time()))
            # Last: what is published meanwhile is for those who were still held.
            control_door.close()
            for task in (inputs, checking, singing, summing):
                task.cancel()
            await asyncio.wait([inputs, reloading, checking, singing, summing])
            zeromq.close()
            carrier.cancel()
            await asyncio.wait([carrier])
            await bus.close()
            subscriptions.close()
            publishers.pre_shutdown()
            await finish(holds, publishers, hurry, max(0.0, min(HANDLER_GRACE, end - loop.time())))
            delivery.close()
            wheel.close()
            await backend.close()
            collector.stop()
            log.info("stopped")

    async def _listen(self, key: str, address: str, factory: Any, tls: ssl.SSLContext | None = None) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        parsed = parse_address(address)
        backlog = min(self._config.server.backlog, BACKLOG_MAX)
        try:
            if parsed.path:
                server = await loop.create_unix_server(factory, parsed.path, backlog=backlog, ssl=tls)
            else:
                server = await loop.create_server(factory, parsed.host or None, parsed.port, backlog=backlog, ssl=tls)
        except OSError as error:
            raise self._config.error(key, f"cannot listen on {address!r}: {why_not(error)}") from None
        if not parsed.path:
            for listener in server.sockets:
                tune(listener)
        return server


def realms_with_sessions(routes: Routes) -> set[str]:
    """The realms that have a route of which sessions are kept."""
    return {route.realm for route in routes if route.session}


def why_not(error: OSError) -> str:
    """Say why an address can't be listened on, and what to do about it."""
    if isinstance(error, socket.gaierror):
        return "there is no such host"
    return WHY_NOT.get(error.errno or 0) or os.strerror(error.errno or 0)


def tune(listener: Any) -> None:
    """Set the options that accepted connections inherit from their listener."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        options.append((socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT))
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT))
    descriptor = socket.socket(fileno=os.dup(listener.fileno()))
    try:
        for level, option, value in options:
            descriptor.setsockopt(level, option, value)
    finally:
        descriptor.close()


def raise_file_limit() -> int:
    """Let the process open as many files as the system allows it, and return how many that is."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # macOS refuses "infinity"
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 10_240), hard))
    limit: int = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < 4 * RESERVED_FILES:
        log.warning("only %d files may be open, so as few clients can be held", limit)
    return limit


def _counters(metrics: Metrics) -> tuple[Callable[[Route, str, float], None], Callable[[], None]]:
    def count(route: Route, result: str, seconds: float) -> None:
        name = metrics.route_names[route.id]
        metrics.backend_requests[name, result] += 1
        metrics.backend_seconds[name].observe(seconds)

    def count_retry() -> None:
        metrics.backend_retries += 1

    return count, count_retry


def _log_end(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.error("%s: ended", task.get_name(), exc_info=error)


def _log_fault(subject: object, error: Exception) -> None:
    log.error("a fault with %s", type(subject).__name__, exc_info=error)
