"""Targets outside `gripproxy.grip`: requests at both doors, frames, patches, links, routes and the configuration."""

import asyncio
import atexit
import base64
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aiohttp import HttpVersion
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import json
from multidict import CIMultiDict

from gripproxy import config
from gripproxy.auth import Publishers
from gripproxy.config import Config, File, Realm, Route, Secret, Server
from gripproxy.control.answer import JSON, TEXT, RefusalError, negotiate
from gripproxy.control.monitor import Monitor
from gripproxy.control.request import check_method, is_publishable, resolve
from gripproxy.errors import AuthError, ConfigError, InstructError, ItemError
from gripproxy.forwarding import Forwarding, MalformedRequestError
from gripproxy.grip import events as ev
from gripproxy.grip.fields import HOP_BY_HOP, Fields
from gripproxy.grip.instruct import Link
from gripproxy.grip.item import parse_item
from gripproxy.import_routes import import_routes
from gripproxy.links import resolve as resolve_link
from gripproxy.routes import Routes
from gripproxy.subscriptions import Subscriptions
from gripproxy.transports.frames import FrameError, Frames
from gripproxy.transports.handshake import deflate_answer, refusal
from gripproxy.transports.patch import PatchError, patch_body
from gripproxy.transports.pieces import LongMethodError, Pieces
from tests.fuzz.protocol import NOW, SECRET, signed
from tests.fuzz.target import Target, is_clean, refusing, write_head

LOOP = asyncio.new_event_loop()
atexit.register(LOOP.close)

# --- the client door

_ROUTES = Routes(
    Config(
        routes=(
            Route(backends=("http://127.0.0.1:1",)),
            Route(backends=("http://127.0.0.1:2",), host="a.example", path="/a", rewrite="/", cors=("*",)),
            Route(backends=("http://127.0.0.1:3",), host="*.a.example", path="/b/", grip=False),
            Route(backends=("http://127.0.0.1:4",), host="[::1]", headers_set={"X-A": "b"}),
            Route(backends=("http://127.0.0.1:5",), host="a.example", path="/p*", rewrite="/q", orig_headers=True),
            Route(backends=("http://127.0.0.1:6",), host="a.example", protocol="websocket", tls=True),
        )
    ),
    b"k" * 32,
)
_FORWARDINGS = (
    Forwarding(Server()),
    Forwarding(
        Server(
            trusted_proxies=("192.0.2.0/24",),
            certificate=(File("c.pem"),),
            cdn_loop="a",
            accept_pushpin_route=True,
            orig_headers_need_mark=("X-A",),
        )
    ),
)


class Request(NamedTuple):
    """What forwarding looks at of a request."""

    method: str
    raw_path: str
    version: HttpVersion
    headers: CIMultiDict[str]
    raw_headers: Fields
    remote: str


def requests(data: bytes) -> None:
    """What the parser lets pass is forwarded without anything that is the proxy's to say, or refused with a status."""
    parser = HttpRequestParser(BaseProtocol(LOOP), LOOP, 65536, max_line_size=8190, max_field_size=8190)
    try:
        messages, _, _ = parser.feed_data(data)
    except HttpProcessingError:
        return
    for message, _ in messages:
        request: Any = Request(
            message.method, message.path, message.version, message.headers, message.raw_headers, "192.0.2.1"
        )
        for forwarding in _FORWARDINGS:
            with refusing(MalformedRequestError, r"HTTP/|Transfer-Encoding |Host |the request |Pushpin-Route "):
                _forward(forwarding, request)


def _forward(forwarding: Forwarding, request: Any) -> None:
    host, target = forwarding.check(request)
    assert target.startswith("/") or target == "*"
    if forwarding.is_websocket(request):
        refused = refusal(request.method, request.version, request.raw_headers, has_body=False)
        assert refused is None or refused.status in (400, 426)
        deflate_answer(request.raw_headers)
    forwarding.route_name(request)
    route = _ROUTES.match(
        host, target, is_websocket=forwarding.is_websocket(request), is_secure=forwarding.is_secure(request)
    )
    assert route is not None
    is_covered = not route.path.endswith("a") or re.fullmatch(r"/a(?:[/?].*)?", target, re.DOTALL)
    assert is_covered, (route.path, target)
    rewritten = route.rewritten(target)
    assert rewritten == target or rewritten.startswith("/")
    id_fields = forwarding.id_fields(request)
    given = forwarding.fields(request, route, host, id_fields)
    names = [name.lower() for name, _ in given]
    assert names.count(b"host") == 1
    assert not set(names) & (HOP_BY_HOP | {b"content-length", b"expect"})
    assert not any(name.replace(b"_", b"-").startswith(b"grip-") for name in names)
    assert all(is_clean(name) and is_clean(value) for name, value in given)
    # Where holds resolve their links against.
    urlsplit(f"http://{host}{target}")
    resolve_link(f"http://{host}{target}", "next")


def pieces(data: bytes) -> None:
    """However the bytes come, the same heads are cut, and their bytes are those that came."""
    heads, rest = _cut(data, len(data))
    assert (heads, rest) == _cut(data, 1) == _cut(data, 3)
    for head, method in heads:
        assert head.endswith(b"\r\n\r\n")
        assert (method.encode() + head.removeprefix(b"POST") if method else head) in data


def _cut(data: bytes, step: int) -> tuple[list[tuple[bytes, str]], bytes | None]:
    """Return the heads with the methods that another stands for, and what is behind them; None for a long method."""
    one, heads, begun, rest = Pieces(), [], b"", b""
    for start in range(0, len(data), step or 1):
        rest += data[start : start + step]
        while rest:
            try:
                piece, rest = one.head(rest)
            except LongMethodError:
                return heads, None
            if not piece:
                break
            begun += piece
            if one.is_head_over:
                heads.append((begun, one.method))
                begun = b""
    return heads, begun + rest


def route_matches(data: bytes) -> None:
    """Any host and path have a route of that host or pattern, or none."""
    host, _, path = data.decode("utf-8", "surrogateescape").partition("\n")
    route = _ROUTES.match(host, path)
    if route is None:
        return
    assert route.path == "/" or path.startswith(route.path.removesuffix("*").rstrip("/"))
    name = host.lower()
    assert route.host == "*" or (route.host.removeprefix("*") in name)
    assert route is _ROUTES.match(host, path)


# --- links and patches


def links(data: bytes) -> None:
    """A link that an Instruct may have leads to a server, from any request and from any other link."""
    base = "http://example.com:8000/a/b?c"
    for text in data.decode("utf-8", "replace").split("\n"):
        with refusing(InstructError, r"URI "):
            base = resolve_link(base, Link(text).uri)
            parts = urlsplit(base)
            assert parts.scheme in ("http", "https")
            assert parts.hostname, base
            assert parts.port is None or 0 < parts.port < 65536, base
            assert is_clean(parts.netloc.encode("ascii") + parts.path.encode("ascii") + parts.query.encode("ascii"))


def patches(data: bytes) -> None:
    """A patch that an item may have gives JSON, or a PatchError."""
    body, _, patch = data.partition(b"\0")
    try:
        plain = json.decode(patch)
        item = parse_item({"channel": "c", "http-response": {"body-patch": plain}}, "item")
    except (ItemError, ValueError, RecursionError):
        return
    assert item.response is not None
    assert item.response.patch is not None
    with refusing(PatchError, r""):
        found = patch_body(body, item.response.patch)
        json.decode(found)
        assert len(found) <= 100 * (len(data) + 10_000)


# --- WebSocket frames

FRAME_LIMIT = 300


def frames(data: bytes) -> None:
    """Any bytes are messages within the limit, or a FrameError with a code, however they come in.

    Which of two faults is seen first may depend on that.
    """
    for options in ({}, {"is_deflated": True}, {"is_backend": True}):
        whole, fault = _frames(data, len(data) or 1, options)
        for event in whole:
            assert len(event.content) <= FRAME_LIMIT
            if event.type in ("TEXT", "PING", "PONG", "CLOSE"):
                ev.check_frame(event.type.lower() if event.type != "CLOSE" else "ping", event.content)
        parts, part_fault = _frames(data, 3, options)
        assert (whole, fault is None) == (parts, part_fault is None)
        assert all(code is None or ev.is_close_code(code) for code in (fault, part_fault))


def _frames(data: bytes, size: int, options: dict[str, bool]) -> tuple[list[ev.Event], int | None]:
    parser, found = Frames(FRAME_LIMIT, **options), []
    try:
        for start in range(0, len(data), size):
            part = data[start : start + size]
            while part or parser.has_more:
                for event in parser.feed(part):
                    found.append(event)
                    if event.type == "CLOSE":
                        return found, None  # nothing is read behind it
                part = b""
            if parser.is_between:
                parser = Frames(FRAME_LIMIT, **options)
    except FrameError as error:
        return found, error.code if error.reason else 0
    return found, None


# --- the control door

_PUBLISHERS = Publishers(
    Config(realms={"realm": Realm(key=(Secret(SECRET.decode()),)), "open": Realm()}, routes=()),
)


def publishers(data: bytes) -> None:
    """Credentials are good only with the key, and what is wrong with others is said without showing it."""
    given = data.decode("utf-8", "surrogateescape")
    for authorization in (given, f"Bearer {signed(data)}"):
        pattern = r"the (token|credentials|realm)|credentials are missing|there is no realm"
        with refusing(AuthError, pattern, statuses=(401, 403), secret=SECRET):
            _PUBLISHERS.check("realm", authorization, False, NOW)
            assert authorization is not given or _has_secret(data), "let in without the key"
    _PUBLISHERS.check("open", given, True, NOW)


def _has_secret(data: bytes) -> bool:
    standard = base64.b64encode(SECRET).rstrip(b"=")
    found = [data, *(base64.b64decode(part + b"==") for part in re.findall(rb"[A-Za-z0-9+/]+", data) if len(part) > 8)]
    return any(SECRET in one or standard in one for one in found) or data.count(b".") == 2


_MONITOR = Monitor(Subscriptions(LOOP, {("realm", "c"): 1}, 60.0, "instance"))


def control_door(data: bytes) -> None:
    """Every request target is served or refused, and every Accept has an answer."""
    path, _, rest = data.decode("utf-8", "surrogateescape").partition("\n")
    target = resolve.__wrapped__(path)
    for method in ("GET", "POST", path[:8]):
        with refusing(
            RefusalError, r"Not Found|Method not allowed|Publishing to a channel's own URL", statuses=(404, 405)
        ):
            check_method(method, target.endpoint)
    assert negotiate.__wrapped__(rest) in (TEXT, JSON, None)
    is_publishable.__wrapped__(rest)
    for since in (rest, f"cursor:{rest}"):
        with refusing(RefusalError, r"since must be|The changes since that cursor", statuses=(400, 404)):
            json.decode(_MONITOR.items("realm", since))


# --- the configuration

_FOLDER = Path(tempfile.mkdtemp(prefix="gripproxy-fuzz-"))
atexit.register(shutil.rmtree, _FOLDER)
_FILE = _FOLDER / "c.toml"
# One line.
_CONFIG_ERROR = rf"({re.escape(str(_FILE))}: ((is not TOML|cannot be read): |.+?: )|environment: )[^\n]*\Z"


def configuration(data: bytes) -> None:
    """A file and an environment are a configuration that everything can be made of, or one line that names the key."""
    toml, _, lines = data.partition(b"\0")
    _FILE.write_bytes(toml)
    pairs = (line.partition("=") for line in lines.decode("utf-8", "surrogateescape").split("\n"))
    environment = {f"GRIPPROXY__{name}": value for name, _, value in pairs if name}
    with refusing(ConfigError, _CONFIG_ERROR):
        make_all(config.load(_FILE, environment))


def make_all(found: Config) -> None:
    """Make of a configuration what a proxy is made of."""
    config.warnings(found)
    routes = Routes(found, b"k" * 32)
    for route in routes:
        is_websocket, is_secure = route.protocol == "websocket", bool(route.tls)
        host = route.host.replace("*", "x")
        reached = routes.match(host, route.path, is_websocket=is_websocket, is_secure=is_secure)
        assert (reached if route.host else routes.named(route.id)) is not None
    Publishers(found)
    Forwarding(found.server)


def encode_configuration(value: object) -> bytes | None:
    """TOML from a table: whole texts, settings of a route."""
    if not isinstance(value, str):
        return None
    text = value if "=" in value else f'[[routes]]\nbackends = ["http://a"]\nhost = "{value}"'
    return text.encode("utf-8", "surrogateescape")


def imported_routes(data: bytes) -> None:
    """Pushpin's routes become a configuration that loads, as far as the files exist that it names."""
    text = data.decode("utf-8", "replace")
    toml, warnings = import_routes(text)
    assert all(re.match(r"line \d+: ", warning) for warning in warnings)
    _FILE.write_text(toml)
    with refusing(ConfigError, _CONFIG_ERROR):
        try:
            make_all(config.load(_FILE))
        except ConfigError as error:
            if re.search(r"there is no file|there is none|cannot be read|_key: ", str(error)):
                return
            raise AssertionError(f"what was made of it does not load: {error}\n{toml}") from None


def _head(value: object) -> bytes | None:
    head = write_head(value)
    return None if head is None else b"GET / HTTP/1.1\r\n" + head.replace(b"\n", b"\r\n")


_WORDS_OF_ROUTES = (
    b"path_beg=", b"path_rem=", b"replace_beg=", b"as_host=", b"header=", b"proto=ws", b"ssl", b"over_http", b"sub=",
    b"sig_key=", b"id=", b"zhttp/", b"test", b'"', b"\\",
)  # fmt: skip

TARGETS: dict[str, Target] = {
    "requests": Target(
        requests,
        ("test_forwarding", "transports.test_handshake"),
        _head,
        (
            b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
            b"GET http://a.example/a?b HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\nGrip_Sig: x\r\n\r\n",
            b"OPTIONS * HTTP/1.0\r\nConnection: x-a\r\nX-A: b\r\n\r\n",
            b"GET /a HTTP/1.1\r\nHost: [::1]:80\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n",
            b"POST /b HTTP/1.1\r\nHost: x.a.example:80\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ),
        (b"Host: ", b"Connection: ", b"Transfer-Encoding: chunked\r\n", b"X-Forwarded-Proto: ", b"http://"),
    ),
    "pieces": Target(
        pieces,
        ("test_forwarding", "transports.test_pieces"),
        _head,
        (
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nFROB /b HTTP/1.1\r\nA: \r\r\n\r\nGET",
            b"\x16\x03\x01\r\n\r\nGET\t/\r\n\r\n" + b"x" * 70,
        ),
        (b"\r\n\r\n", b"GET ", b"FROB ", b"\r\n"),
    ),
    "routes": Target(
        route_matches,
        ("test_routes",),
        seeds=(b"a.example:80\n/a/b", b"x.a.example.\n/b/", b"[::1]:80\n/", b"\n*"),
        words=(b"a.example", b"/a", b"/b/"),
    ),
    "links": Target(
        links,
        ("grip.test_instruct",),
        seeds=(b"/next?a=b", b"http://b.example/c\n//d.example:81/e\n?f\n../g", b"https://[::1]:1/"),
        words=(b"http://", b"https://", b"//", b":80", b"[::1]", b"@", b".."),
    ),
    "patches": Target(
        patches,
        ("transports.test_patch", "grip.test_item"),
        lambda value: b'{"a":[1,2],"b":{"c":"d"}}\r\n\0' + json.encode(value) if _is_patch(value) else None,
        (
            b'{"a":[1,2],"b":{"c":"d"}}\n\0[{"op":"copy","from":"","path":"/c"},{"op":"copy","from":"","path":"/d"}]',
            b'[]\0[{"op":"add","path":"/-","value":{}},{"op":"test","path":"/0","value":{}},{"op":"remove","path":"/0"}]',
            b'{"a":1}\0[{"op":"move","from":"/a","path":"/b"},{"op":"replace","path":"","value":[null]}]',
        ),
        (b'"op":"copy"', b'"op":"add"', b'"op":"move"', b'"from":"', b'"path":"/', b'"value":', b"/-", b"~1", b"~0"),
    ),
    "frames": Target(
        frames,
        ("transports.test_frames",),
        seeds=(
            b"\x81\x85\x01\x02\x03\x04ige\x68n",
            b"\x01\x81\0\0\0\0a\x89\x80\0\0\0\0\x80\x81\0\0\0\0b",
            b"\x88\x82\0\0\0\0\x03\xe8",
            b"\xc1\x87\0\0\0\0\xf2H\xcd\xc9\xc9\x07\0",
            b"\x82\xfe\x01\x00\0\0\0\0" + b"x" * 256,
            b"\x81\x05hello\x8a\0",
        ),
        words=(b"\x81\x80\0\0\0\0", b"\x88\x80", b"\xc2\xfe", b"\x80\x80", b"\xff" * 8),
    ),
    "publishers": Target(
        publishers,
        ("test_auth", "grip.test_tokens"),
        seeds=(
            b"Bearer " + SECRET,
            b"Basic " + base64.b64encode(b"u:" + SECRET),
            b"Bearer " + signed(b'{"iss":"realm","exp":1700000100}').encode(),
            b'{"iss":"realm","exp":1700000100}',
        ),
        words=(b"Bearer ", b"Basic ", b"b'", b".", b'"exp":'),
    ),
    "control-door": Target(
        control_door,
        ("control.test_answer", "control.test_request"),
        seeds=(
            b"/realm/a%2Fb/publish/?x\ntext/plain;q=0.5, application/json",
            b"http://h/service/a/publish\n*/*",
            b"/subscriptions/items/\napplication/problem+json",
        ),
        words=(b"/realm/", b"/publish", b"%2F", b";q=", b"application/*"),
    ),
    "configuration": Target(
        configuration,
        ("config.test_config", "config.test_reader", "test_check"),
        encode_configuration,
        (
            b'debug = true\n[realms.a]\nkey = ["base64:AAAA", "hex:00"]\n[[routes]]\nrealm = "a"\n'
            b'backends = ["http://a:1", "https://[::1]"]\nhost = "*.a.example"\npath = "/a"\nheaders_set = {A = "b"}\n'
            b'connect_timeout = 1\n[server]\nlisten = [":1"]\n\0LOG__JSON=true\nROUTES__0__ID=x\nREALMS__A__KEY=k',
            b"\0ROUTES__0__BACKENDS=http://a\nLIMITS__UNSENT=1\nROUTES__0__HEADERS_SET={}\nROUTES__1__BACKENDS=[]",
        ),
        (b"[[routes]]\n", b"backends = ", b"[realms.", b"ROUTES__0__", b"REALMS__", b"1e400", b'"file:'),
    ),
    "import-routes": Target(
        imported_routes,
        ("test_import_routes",),
        seeds=(
            b'* a:1,over_http b:2,ssl\nh.example,path_beg=/a/,path_rem=2,id=x,"header=A:b" [::1]:1,sub=c # d\n'
            b"*,path_beg=/b,proto=ws a:1,over_http\n*,path_beg=/b,proto=http a:1",
        ),
        words=_WORDS_OF_ROUTES,
    ),
}


def _is_patch(value: object) -> bool:
    try:
        return isinstance(value, list) and bool(json.encode(value))
    except (TypeError, ValueError):
        return False
