"""The API: one URL per headline serves plain GET, long-poll, event stream and WebSocket.

A view never waits. It answers with the present state, or with instructions that the proxy hold the client.
"""

from collections.abc import Callable
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotModified
from django.shortcuts import render
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from django_grip import set_hold_longpoll, set_hold_stream
from gripcontrol import Channel

from . import realtime
from .body import BodyError, parse_fields
from .models import Headline

JSON = "application/json"
HTML = "text/html"
EVENT_STREAM = "text/event-stream"

LIST_LENGTH = 50
LONGEST_WAIT = 300  # seconds a client may ask to be held
# A comment nobody sees, often enough for the intermediaries that cut a connection after 30 quiet seconds.
KEEP_ALIVE = ":\n\n"
KEEP_ALIVE_SECONDS = 20
DEFAULTS = {"type": "none", "title": "", "text": ""}
# The page needs nothing from elsewhere. `ws:` and `wss:` because older browsers do not count them as 'self'.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

View = Callable[..., HttpResponseBase]


def collection(request: HttpRequest) -> HttpResponseBase:
    """`/`: POST creates; GET gives the page, the list, or the list's event stream; WebSockets hear the list."""
    if request.wscontext:
        return _websocket(request, realtime.LIST_CHANNEL)
    return _dispatch({"GET": _browse, "HEAD": _browse, "POST": _create}, request)


def item(request: HttpRequest, headline_id: int) -> HttpResponseBase:
    """`/ID/`: GET reads, waits or streams; PUT changes; WebSockets hear the changes."""
    headline = Headline.objects.filter(pk=headline_id).first()
    if headline is None:
        return _error(404, f"there is no headline {headline_id}")
    if request.wscontext:
        return _websocket(request, realtime.channel_of(headline))
    return _dispatch({"GET": _read, "HEAD": _read, "PUT": _update}, request, headline)


def _dispatch(methods: dict[str, View], request: HttpRequest, *arguments: Any) -> HttpResponseBase:
    view = methods.get(request.method)
    if view is None:
        response = _error(405, f"{request.method} is not possible here")
        response["Allow"] = ", ".join(methods)
        return response
    try:
        return view(request, *arguments)
    except BodyError as error:
        return _error(400, str(error))
    except RequestDataTooBig:
        return _error(413, "the body may have at most 64 KiB")


def _browse(request: HttpRequest) -> HttpResponse:
    kind = JSON if request.GET.get("format") == "json" else _preferred(request, JSON, HTML, EVENT_STREAM)
    if kind == EVENT_STREAM:
        return _stream(request, realtime.LIST_CHANNEL)
    if kind == HTML:
        response = render(request, "headlines/page.html", {"proxied": request.grip.proxied})
        response["Content-Security-Policy"] = PAGE_POLICY
    else:
        newest = Headline.objects.order_by("-pk")[:LIST_LENGTH]
        response = _json([headline.to_data() for headline in newest])
    return _fresh(response)


def _create(request: HttpRequest) -> HttpResponse:
    headline = Headline()
    fields = parse_fields(request.body, DEFAULTS) if request.body else DEFAULTS
    with transaction.atomic():
        headline.revise(fields)
        transaction.on_commit(lambda: realtime.publish_to_list(headline), robust=True)
    response = _json(headline.to_data())
    response["ETag"] = headline.etag
    response["Location"] = reverse("item", args=[headline.pk])
    return response


def _update(request: HttpRequest, headline: Headline) -> HttpResponse:
    fields = parse_fields(request.body, {"title": "", "text": ""})
    with transaction.atomic():
        headline = Headline.objects.select_for_update().get(pk=headline.pk)
        previous = headline.revision
        headline.revise(fields)
        # Only what is stored may be told: a listener may come and read it at once. `robust`: an exception is logged.
        transaction.on_commit(lambda: realtime.publish_update(headline, previous), robust=True)
    response = _json(headline.to_data())
    response["ETag"] = headline.etag
    return response


def _read(request: HttpRequest, headline: Headline) -> HttpResponse:
    channel = realtime.channel_of(headline)
    if _preferred(request, JSON, EVENT_STREAM) == EVENT_STREAM:
        return _stream(request, channel)
    wait = request.headers.get("Wait", "").strip()
    if wait and not (wait.isascii() and wait.isdigit() and len(wait) < 10):
        return _error(400, "Wait must be a whole number of seconds")
    if _has_current(request, headline):
        response: HttpResponse = HttpResponseNotModified()
        if wait and int(wait) and request.method == "GET":
            # With the revision the proxy can tell that an update came between this reading and its holding.
            point = Channel(channel, prev_id=headline.revision)
            set_hold_longpoll(request, point, timeout=min(int(wait), LONGEST_WAIT))
    else:
        response = _json(headline.to_data())
    response["ETag"] = headline.etag
    return _fresh(response)


def _stream(request: HttpRequest, channel: str) -> HttpResponse:
    response = HttpResponse(content_type=EVENT_STREAM)
    if request.method == "GET":
        set_hold_stream(request, channel, keep_alive_data=KEEP_ALIVE, keep_alive_timeout=KEEP_ALIVE_SECONDS)
    return _fresh(response)


def _websocket(request: HttpRequest, channel: str) -> HttpResponse:
    """WebSocket events: accept and subscribe, answer a close; what the client says is not listened to."""
    socket = request.wscontext
    if socket.is_opening():
        socket.accept()
        socket.subscribe(channel)
    try:
        while socket.can_recv():
            try:
                message = socket.recv()
            except UnicodeDecodeError:
                continue
            if message is None:
                # Without a code the library would write 0, which no WebSocket may carry.
                socket.close(socket.close_code or 1000)
                break
    except OSError:  # how the library reports that the client is gone without a close
        pass
    return HttpResponse()


def _preferred(request: HttpRequest, *offered: str) -> str:
    """The offered media type that the client names first by quality; the first offered one if it names none.

    Wildcards count as naming none: nobody gets an endless stream who did not ask for it.
    """
    for accepted in request.accepted_types:
        name = f"{accepted.main_type}/{accepted.sub_type}".lower()
        if name in offered:
            return name
    return offered[0]


def _has_current(request: HttpRequest, headline: Headline) -> bool:
    """Whether If-None-Match names the present revision (weak comparison, RFC 9110 13.1.2)."""
    known = parse_etags(request.headers.get("If-None-Match", "").strip())
    return "*" in known or headline.etag in {tag.removeprefix("W/") for tag in known}


def _json(data: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(realtime.pretty(data), content_type=JSON, status=status)


def _error(status: int, message: str) -> HttpResponse:
    return _json({"error": message}, status)


def _fresh(response: HttpResponse) -> HttpResponse:
    """Caches must ask again, and keep the page, the JSON and the stream of one URL apart."""
    response["Cache-Control"] = "no-cache"
    patch_vary_headers(response, ["Accept"])
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's answer to a request that it refuses to read."""
    return _error(400, "bad request")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's answer to a path that leads nowhere."""
    return _error(404, f"there is nothing at {request.path}")


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's answer to our mistakes; the log has the details."""
    return _error(500, "internal error")
