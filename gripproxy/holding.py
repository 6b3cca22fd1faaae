"""From an Instruct to a hold: its head, its beginning.

Subscriptions come first, the head second, in one turn of the loop: what is published once the client sees the head
reaches it.
"""

import logging
from urllib.parse import urlsplit

from gripproxy.backend import Request, Response
from gripproxy.config import Limits
from gripproxy.errors import BackendError
from gripproxy.grip import wire
from gripproxy.grip.fields import pack_fields
from gripproxy.grip.history import Moments
from gripproxy.grip.instruct import Instruct
from gripproxy.links import resolve
from gripproxy.routes import Route
from gripproxy.sessions import BY_ITSELF, STREAM
from gripproxy.transports.client import Client
from gripproxy.transports.holds import Holds
from gripproxy.transports.linked import LinkedStream
from gripproxy.transports.response import ResponseHold
from gripproxy.transports.stream import StreamHold

log = logging.getLogger("gripproxy.proxy")


def hold_response(
    holds: Holds, client: Client, route: Route, asked: Request, instruct: Instruct, uri: str, moments: Moments
) -> None:
    """Hold a client until something is published, or its time is over."""
    is_kept = client.is_kept and client.is_alone
    transport, received = client.take()
    hold = ResponseHold(
        holds,
        route,
        instruct,
        asked,
        transport,
        received,
        is_head=client.is_head,
        is_kept=is_kept,
        asked_again=client.asked,
        cors=client.cors,
        uri=uri,
    )
    if instruct.gone_link is not None:
        hold.gone_link = resolve(uri, instruct.gone_link.uri)
    _join(holds, hold, instruct, BY_ITSELF)
    hold.begin(moments.asked)


async def hold_stream(
    holds: Holds,
    client: Client,
    route: Route,
    asked: Request,
    instruct: Instruct,
    rest: Response | None,
    uri: str,
    moments: Moments,
) -> None:
    """Begin a response that goes on with what is published; ``rest`` is what is still to come of its own body."""
    is_chunked = client.is_chunkable
    is_kept = client.is_kept and client.is_alone and is_chunked
    if client.is_head:
        client.respond(instruct.status, instruct.reason, instruct.fields, b"")
        return
    transport, received = client.take()
    hold: StreamHold
    linked: LinkedStream | None = None
    if rest is not None or _is_linked(instruct):
        hold = linked = LinkedStream(
            holds,
            route,
            instruct,
            transport,
            received,
            is_chunked=is_chunked,
            is_kept=is_kept,
            uri=uri,
            host=urlsplit(uri).netloc,
        )
        if route.link_headers:
            linked.link_fields = pack_fields(
                tuple(field for field in asked.fields if field[0].lower() in route.link_headers)
            )
    else:
        hold = StreamHold(holds, route, instruct, transport, received, is_chunked=is_chunked, is_kept=is_kept)
    if instruct.gone_link is not None:
        hold.gone_link, hold.origin = resolve(uri, instruct.gone_link.uri), uri
    _join(holds, hold, instruct, STREAM if linked is None else BY_ITSELF)
    missed = hold.begin(moments)
    fields = instruct.fields if client.cors is None else client.cors.complete(instruct.fields)
    head = (
        wire.encode_status_line(instruct.status, instruct.reason),
        wire.encode_fields(fields),
        b"Transfer-Encoding: chunked\r\n" if is_chunked else b"",
        b"" if is_kept else b"Connection: close\r\n",
        b"\r\n",
        wire.chunk(instruct.body) if is_chunked else instruct.body,
    )
    client.status = instruct.status
    transport.write(b"".join(head))
    hold.resume(missed)
    if linked is None:
        return
    if rest is not None:
        await _stream_rest(linked, rest, holds.limits)
    linked.proceed(moments)


async def _stream_rest(hold: LinkedStream, rest: Response, limits: Limits) -> None:
    """Write what is still to come of the body that a hold begins with."""
    try:
        while part := await rest.read_some():
            hold.write(part)
            await hold.drain()
    except BackendError as error:
        log.warning("%s: %s", hold.route.id, error, extra={**hold.log_extra, "backend": error.backend})
        hold.break_off("backend")
    finally:
        if hold.connection is not None:
            hold.connection.set_write_buffer_limits(high=limits.unsent)


def _join(holds: Holds, hold: StreamHold | ResponseHold, instruct: Instruct, kind: str) -> None:
    """Have a hold belong to the session that its response names, before anything is delivered to it."""
    if hold.route.session and instruct.session_id is not None:
        now = holds.wheel.now()
        holds.sessions.join(hold, hold.route.realm, instruct.session_id, kind, hold.channels, now)


def _is_linked(instruct: Instruct) -> bool:
    """Whether a stream is more than a copy of what is published."""
    return instruct.next_link is not None or any(
        channel.prev_id is not None or channel.filters for channel in instruct.channels
    )
