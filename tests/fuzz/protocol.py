"""Targets in `gripproxy.grip`: instructions, items, events, tokens, filters and what they are made of."""

import base64
import hmac
import re
from typing import Any

from msgspec import json

from gripproxy.bus.entry import Entry, EntryError
from gripproxy.config import Config, Limits, Route
from gripproxy.errors import AuthError, BackendError, EventError, FilterError, InstructError, ItemError
from gripproxy.grip import events as ev
from gripproxy.grip import fields as syntax
from gripproxy.grip import members, tnetstring, wire, zeromq
from gripproxy.grip.commands import Close, Control, Reject, Send
from gripproxy.grip.cors import Cors
from gripproxy.grip.detection import DetectRule, detect, session_fields
from gripproxy.grip.fields import HOP_BY_HOP, Fields
from gripproxy.grip.filters import HTTP_FILTERS, Scope, compile_filters, http_outcome, http_request
from gripproxy.grip.instruct import Instruct, is_instruct
from gripproxy.grip.item import CLOSE_CODES, Item, parse_item, parse_items
from gripproxy.grip.limits import Limits as SessionLimits
from gripproxy.grip.tokens import Key, claimed_issuer, sign, verify
from gripproxy.grip.websocket import Session
from gripproxy.instructs import prepare
from gripproxy.metrics import Metrics
from gripproxy.routes import Routes
from tests.fuzz.target import Choices, Target, is_clean, read_head, refusing, write_head

NOW = 1_700_000_000.0
SECRET = b"a secret that no error may show"
KEYS = (Key.from_bytes(SECRET), Key.from_bytes(b"another secret"))

ROUTE = next(
    iter(Routes(Config(routes=(Route(backends=("http://127.0.0.1:1",), prefix="p-", subscribe=("s",)),)), b"k" * 32))
)
LIMITS = Limits()
METRICS = Metrics()


# --- fields


def fields(data: bytes) -> None:
    """Field syntax takes anything; only escapes can be wrong."""
    value = syntax.text(data)
    for part in syntax.split_list(value):
        assert part
        assert part == part.strip()
        parsed = syntax.parse_parameters(part)
        if parsed is not None:
            assert all(name for name, _ in parsed[1])
    with refusing(ValueError, r"unknown escape|a backslash at the end|\\x must be"):
        decoded = syntax.decode_cstring(value)
        assert "\\" in value or decoded == value.encode()
    if syntax.is_base64(value):
        syntax.decode_base64(value)
    syntax.media_type(data)
    given, _ = read_head(data)
    assert given == syntax.unpack_fields(syntax.pack_fields(given))
    assert all(name == name.lower() for name in syntax.connection_options(given))


# --- instructions

_INSTRUCT_ERROR = (
    r"Content-Encoding|Grip-(Hold|Channel|Timeout|Keep-Alive|Set-Meta|Status|Link|Last|Session-Id|Session-Detect)\b"
    r"|hold|response|instruct|status of|app"
)
_AT = "http://example.com/a/b?c"


def instruct(data: bytes) -> None:
    """Whatever a backend answers is a legal Instruct, or an InstructError that names the field or member."""
    given, body = read_head(data)
    with refusing(InstructError, _INSTRUCT_ERROR):
        found = Instruct.from_response(200, "OK", given, body)
        check_instruct(found)
        assert is_instruct(given) or (found.hold is None and found.body == body)
        with refusing(BackendError, r"the response can't be filtered|a channel does not fit"):
            check_channels(prepare(ROUTE, found, LIMITS, METRICS))


def check_instruct(found: Instruct) -> None:
    """What is sent to the client has the lines it says, and no more."""
    head = wire.encode_status_line(found.status, found.reason) + wire.encode_fields(found.fields)
    assert head.count(b"\r\n") == 1 + len(found.fields) == len(re.findall(rb"[\r\n]", head)) // 2
    assert b"\0" not in head
    for name, _ in found.fields:
        assert name.lower() not in HOP_BY_HOP | {b"content-length"}
        assert not name.lower().startswith(b"grip-")
    assert 200 <= found.status <= 999 or not found.has_body_instruct
    assert 5 <= found.timeout < 2**31
    check_channels(found)
    json.encode(dict(found.meta))
    for link in (found.next_link, found.gone_link):
        assert link is None or is_clean(link.uri.encode("ascii"))


def check_channels(found: Instruct) -> None:
    """Channels and ids can be said to a backend in Grip-Last."""
    last = [(channel.name, channel.prev_id or "") for channel in found.channels] + list(found.last_ids)
    for channel, last_id in last:
        assert channel
        assert is_clean(f"{channel}; last-id={last_id}".encode())


def encode_instruct(value: object) -> bytes | None:
    """Fields, lines of fields, or JSON, from a table."""
    if isinstance(value, str):
        return f"{value}\n\n".encode() if ":" in value else f"Grip-Hold: stream\nGrip-Channel: {value}\n\n".encode()
    if isinstance(value, dict):
        document = value if {"hold", "response"} & value.keys() else {"hold": {"channels": [], **value}}
        return b"Content-Type: application/grip-instruct\n\n" + json.encode(document)
    return write_head(value)


# --- sessions

_RULES = tuple(DetectRule("/", pointer, param) for pointer in ("", "/sid", "/0/0") for param in (None, "data"))


def detection(data: bytes) -> None:
    """Whatever a rule says and a client sends, there is an id that is good for a field, or none."""
    value, _, body = data.partition(b"\n")
    rules = _RULES
    with refusing(InstructError, r"Grip-Session-Detect"):
        rules = Instruct.from_response(200, "OK", ((b"Grip-Session-Detect", value),), b"").detect_rules
        assert all(one.path_prefix.startswith("/") and one.json_param != "" for one in rules)
    for some in (rules, _RULES, *([one] for one in rules)):
        sid = detect(some, body)
        if sid is not None:
            name, written = session_fields(sid, {})[0]
            assert is_clean(name)
            assert is_clean(written)
            assert sid == syntax.text(written.strip())


def encode_detection(value: object) -> bytes | None:
    """Bodies behind rules, and pointers before bodies."""
    if isinstance(value, bytes):
        return b"path-prefix=/; sid-ptr=/sid, path-prefix=/; sid-ptr=/sid; json-param=data\n" + value
    if isinstance(value, str):
        return f'path-prefix=/; sid-ptr="{value}"\n{{"sid": "a"}}'.encode("utf-8", "surrogatepass")
    return None


# --- items


def items(data: bytes) -> None:
    """A body of items is read whole, or refused with the way to what is wrong."""
    with refusing(ItemError, r"Body is not valid JSON: |Invalid format: (items(\[\d+\].*?)?: |object does|body must)"):
        for item in parse_items(data):
            check_item(item)


def check_item(item: Item) -> None:
    """An accepted item can be sent to everybody."""
    assert is_clean(f"{item.channel}; last-id={item.id or ''}".encode())
    json.encode(dict(item.meta))
    if item.response is not None and item.response.action == "send":
        response = item.response
        head = wire.encode_response(response.code, response.reason, response.fields, b"")
        assert head.count(b"\n") == head.count(b"\r") == len(response.fields) + 2 + (b"Content-Length" in head)
        assert (response.body is None) == (response.patch is not None)
    if item.stream is not None and item.stream.action == "send":
        for encode in wire.STREAM_FRAMINGS.values():
            encode(item)
    message = item.message
    if message is not None and message.action == "send":
        ev.check_frame(message.type, message.content)
        for encode in wire.MESSAGE_FRAMINGS.values():
            encode(item)
    elif message is not None and message.action == "close":
        assert message.code is None or message.code in CLOSE_CODES
        wire.close_frame(message.code, message.reason)


def encode_item(value: object) -> bytes | None:
    """Items and their formats from a table."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, dict):
        return None
    if {"http-response", "http-stream", "ws-message", "formats"} & value.keys():
        value = {"channel": "c", **value}
    elif "channel" not in value:
        name = "http-stream" if {"content", "content-bin"} & value.keys() else "http-response"
        value = {"channel": "c", "formats": {name: value, "ws-message": value}}
    try:
        return json.encode({"items": [value]})
    except (TypeError, ValueError):
        return None


def zeromq_messages(data: bytes) -> None:
    """A message is an item or an ItemError, alone and behind a channel; what a command publishes, too."""
    channel, _, message = data.rpartition(b"\0")
    for given in (None, channel):
        with refusing(ItemError, r"a channel, name or other text|neither JSON after J|item.*?: "):
            check_item(zeromq.parse_message(message, given))
    command = zeromq.parse_command(message)
    if command is not None:
        with refusing(ItemError, r"Invalid format: (object does not contain 'items'|items.*?: )"):
            for item in zeromq.parse_published(command.args):
                check_item(item)
    reply = tnetstring.parse(zeromq.encode_reply(command, zeromq.Reply(message)))
    assert (True, message, command.id if command is not None else None) == (
        reply["success"],
        reply["value"],
        reply.get("id"),
    )


def tnetstrings(data: bytes) -> None:
    """One value, or a ValueError that names the byte."""
    with refusing(ValueError, r"byte \d+: |\d+ bytes follow the value"):
        tnetstring.parse(data)


# --- events


def events(data: bytes) -> None:
    """A body is read whole, or refused with the offset; what was read can be written and read again."""
    with refusing(EventError, r"events: offset \d+: "):
        found = ev.parse_events(data)
        assert found == ev.parse_events(ev.encode_events(found))
        for event in found:
            code, reason = ev.parse_close(event.content)
            assert code is None or wire.close_frame(code, reason)
        with refusing(EventError, r"events: offset \d+: "):
            limited = ev.parse_events(data, 16, 4)
            assert len(limited) <= 4
            assert all(len(event.content) <= 16 for event in limited)


def control(data: bytes) -> None:
    """A control message, or an EventError that names the member."""
    with refusing(EventError, r"control message: |(text|binary|ping|pong) content"):
        check_control(ev.parse_control(data))


def check_control(found: ev.Control) -> None:
    """What a backend wants done can be done."""
    match found:
        case ev.Subscribe(channel, _) | ev.Unsubscribe(channel):
            members.channel_name(channel)
        case ev.SetKeepAlive(content, kind, timeout, mode):
            assert timeout > 0
            assert mode in ("idle", "interval")
            ev.check_frame(kind, content or b"")
        case ev.SendDelayed(kind, content, timeout):
            assert timeout > 0
            ev.check_frame(kind, content)


def encode_control(value: object) -> bytes | None:
    """Control messages from a table, with and without their type."""
    if isinstance(value, dict):
        return json.encode({"type": "subscribe", "channel": "c", **value})
    return value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else None


# --- WebSocket-over-HTTP

_FIELDS: tuple[bytes, ...] = (
    b"Content-Type: application/websocket-events",
    b"Content-Type: application/websocket-events; charset=utf-8",
    b"Content-Type: text/plain",
    b"Sec-WebSocket-Extensions: grip",
    b'Sec-WebSocket-Extensions: grip; message-prefix=""',
    b"Keep-Alive-Interval: 1",
    b"Content-Bytes-Accepted: 1",
    b"Content-Bytes-Accepted: 0",
    b"Set-Meta-User: a",
    b"Connection: x",
)
_EVENTS: tuple[bytes, ...] = (
    b"OPEN\r\n",
    b"TEXT 4\r\nm:hi\r\n",
    b'TEXT 11\r\nc:{"type":"detach"}\r\n',
    b"CLOSE\r\n",
    b"CLOSE 2\r\n\x03\xe8\r\n",
    b"CLOSE 2\r\n\0\0\r\n",
    b"DISCONNECT\r\n",
    b"PING 1\r\nx\r\n",
    b"PONG\r\n",
    b"BINARY 3\r\nm:\xff\r\n",
)
_STATUSES = (200, 200, 200, 200, 500, 502, 101, 404)


def session(data: bytes) -> None:
    """A client and a backend who do anything at all: no exception, and nothing said to a client but what is legal."""
    choices = Choices(data)
    one = Session("id", SessionLimits(message_size=64, buffered=96, retries=2, queued=8, meta=2, one_event=False))
    now = 0.0
    while choices:
        step = choices.number(8)
        if step <= 1 and one.is_full:
            one.receive(ev.Event("DISCONNECT"))  # its client is not read; it can only be lost
        elif step == 0:
            one.receive(ev.Event("TEXT", choices.take()))
        elif step == 1:
            one.receive(ev.Event(sorted(ev.TYPES - {"OPEN"})[choices.number(len(ev.TYPES) - 1)], choices.take()))
        elif step == 2:
            now += choices.number(100)
        elif step == 3:
            one.refresh()
        elif one.is_in_flight:
            for command in _answer(one, choices, now):
                _check_command(command)
        else:
            request = one.next_request(now)
            if request is not None:
                assert len(ev.parse_events(request.body)) <= one.limits.queued + 1
                assert all(is_clean(name) and is_clean(value) for name, value in request.fields)
        assert not (one.is_closed and one.deadline)


def _answer(one: Session, choices: Choices, now: float) -> list[Any]:
    kind = choices.number(8)
    if kind == 0:
        return one.receive_failure("backend unavailable", bool(choices.number(2)), now)
    status = _STATUSES[choices.number(len(_STATUSES))]
    if kind == 1:
        given, body = read_head(choices.take() + b"\n\n" + choices.take())
        return one.receive_response(status, "", given, body, now)
    lines = [_FIELDS[0], *(_FIELDS[choices.number(len(_FIELDS))] for _ in range(choices.number(4)))]
    said = [_EVENTS[choices.number(len(_EVENTS))] for _ in range(choices.number(5))]
    if kind == 2:
        content = choices.take()
        said.append(b"TEXT %x\r\n%b\r\n" % (len(content), content))
    given, _ = read_head(b"\n".join(lines) + b"\n\n")
    return one.receive_response(status, "", given, b"".join(said), now)


def _check_command(command: object) -> None:
    match command:
        case Send(kind, content):
            ev.check_frame(kind, content)
        case Close(code, reason):
            assert code is None or ev.is_close_code(code)
            wire.close_frame(code, reason)
        case Reject(status, reason, given, _):
            assert 200 <= status <= 599
            head = wire.encode_status_line(status, reason) + wire.encode_fields(given)
            assert head.count(b"\r\n") == len(given) + 1
        case Control(message):
            check_control(message)


# --- tokens


def tokens(data: bytes) -> None:
    """A token is good, or an AuthError that does not show the key; so are claims that somebody with the key signed."""
    text = data.decode("utf-8", "surrogateescape")
    for token in (text, signed(data)):
        claimed_issuer(token)
        for issuer, statuses in ((None, (401,)), ("realm", (401, 403))):
            with refusing(AuthError, r"the token", statuses=statuses, secret=SECRET):
                verify(KEYS, token, NOW, issuer)


def signed(claims: bytes) -> str:
    """A token with any claims, JSON or not."""
    head = _part(b'{"alg":"HS256","typ":"JWT"}') + b"." + _part(claims)
    return (head + b"." + _part(hmac.digest(SECRET, head, "sha256"))).decode()


def _part(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


# --- filters, other origins

_SCOPE = Scope(
    {"user": "u", "id_format": "%(c)s", "url": "/filter", "name": "v\r\n"},
    frozenset({"c"}),
    {"c": "1", "d": "2"},
)


def filters(data: bytes) -> None:
    """A template renders, or is a FilterError that names the filter; so is any id_format."""
    text = data.decode("utf-8", "replace")
    whole = Scope({"user": "u", "id_format": text, "id_encoding": "hex"}, frozenset(), {"c": "1", text: "2"})
    for names in (("build-id",), ("var-subst",), ("skip-self", "var-subst", "build-id", text)):
        found = compile_filters(names)
        for scope in (_SCOPE, whole):
            for apply in (found.content, found.response):
                with refusing(FilterError, r"(build-id|var-subst): "):
                    apply(data, scope)
    item = parse_item(
        {"channel": "c", "meta": {"sender": text, "skip_users": text}, "http-stream": {"content": ""}}, ""
    )
    compile_filters(("skip-self", "skip-users", "require-sub")).drops(item, whole)
    for name in HTTP_FILTERS:
        _, asked, _ = http_request(name, data, item, Scope({"url": text or "/"}, frozenset(), {}))
        assert all(is_clean(value) for _, value in asked)
        with refusing(FilterError, name):
            http_outcome(name, data, 200, read_head(data)[0], data)


def cors(data: bytes) -> None:
    """Other origins get fields of their own, once, and what a request says ends no line."""
    request, rest = read_head(data)
    response, _ = read_head(rest)
    for listed in (frozenset({"*"}), frozenset({"http://a.example"}), frozenset({"*", "http://a.example"})):
        for method in ("OPTIONS", "GET"):
            found = Cors.of(method, request, listed).complete(response)
            assert found[: len(response)] == response
            names = [name.lower() for name, _ in found if name.lower().startswith(b"access-control-")]
            before = [name.lower() for name, _ in response if name.lower().startswith(b"access-control-")]
            assert len(names) - len(before) == len(set(names) - set(before))
            assert all(is_clean(value) for _, value in found)
            added = dict(found[len(response) :])
            origin, credentials = b"Access-Control-Allow-Origin", b"Access-Control-Allow-Credentials"
            assert added.get(origin) in (None, b"*", b"http://a.example")
            assert credentials not in added or added.get(origin) == b"http://a.example"


def _text_fields(value: object) -> bytes | None:
    found: Fields | object = value
    return write_head(found) if not isinstance(value, str | bytes) else None


# --- the bus


def entry(data: bytes) -> None:
    """The items of an entry of the bus: read whole, and written again the same, or refused."""
    fields = {b"v": b"1", b"p": b"0f", b"n": b"7", b"r": b"default", b"i": data}
    with refusing(EntryError, r"i: .", statuses=()):
        read = Entry.decode(fields)
        again = {name: part if isinstance(part, bytes) else str(part).encode() for name, part in read.encode().items()}
        assert Entry.decode(again) == read


TARGETS: dict[str, Target] = {
    "entry": Target(
        entry,
        seeds=(
            Entry(
                "0f",
                7,
                "default",
                parse_items(
                    b'{"items": [{"channel": "a", "id": "2", "prev-id": "1", "meta": {"k": "v"}, '
                    b'"http-response": {"headers": {"A": "b"}, "body": "x"}, "http-stream": {"content": "x"}, '
                    b'"ws-message": {"content": "x"}}]}'
                ),
            ).encode()[b"i"],
        ),
        words=(b"\xa7channel", b"\xa6stream", b"\xa6action\xa4send", b"\xa7message", b"\xa8response"),
    ),
    "fields": Target(
        fields,
        ("grip.test_fields",),
        words=(b"\\x41", b'="', b"; ", b",", b"Connection: "),
    ),
    "instruct": Target(
        instruct,
        ("grip.test_instruct", "grip.test_styles"),
        encode_instruct,
        (
            b'Grip-Hold: stream\nGrip-Channel: a; prev-id=1; filter=build-id\nGrip-Set-Meta: id_format="%(a)s"\n\n%I',
            b"Grip-Hold: response\nGrip-Channel: a, b\nGrip-Timeout: 10\nGrip-Status: 304 Not Modified\n\n",
            b"Grip-Hold: stream\nGrip-Keep-Alive: \\n; format=cstring; timeout=20; mode=interval\n\nx",
            b"Grip-Link: </a?b=c>; rel=next; timeout=5, </d>; rel=gone\nGrip-Expose-Headers: ETag\nETag: 1\n\n",
            b'Content-Type: application/grip-instruct\n\n{"hold":{"mode":"stream","channels":[{"name":"a","prev-id":'
            b'"1","filters":["build-id"]}],"timeout":"5","keep-alive":{"content-bin":"AA==","timeout":1},"meta":'
            b'{"user":"u"}},"response":{"code":"200","reason":"OK","headers":[["A","b"]],"body-bin":"aGk="}}',
        ),
        (
            b"Grip-Hold: ",
            b"Grip-Channel: ",
            b"Grip-Timeout: ",
            b"Grip-Keep-Alive: ",
            b"Grip-Set-Meta: ",
            b"Grip-Status: ",
            b"Grip-Link: <",
            b">; rel=next",
            b">; rel=gone",
            b"Grip-Expose-Headers: ",
            b"Grip-Last: ",
            b"Grip-Session-Id: ",
            b"Grip-Session-Detect: path-prefix=/; sid-ptr=/",
            b"; last-id=",
            b"; prev-id=",
            b"; filter=",
            b"; format=cstring",
            b"; format=base64",
            b"; mode=interval",
            b"Content-Type: application/grip-instruct\n\n",
            b"Content-Encoding: gzip",
            b"Content-Encoding: deflate",
            b'"headers"',
            b'"body-bin"',
            b'"keep-alive"',
        ),
    ),
    "detection": Target(
        detection,
        ("grip.test_detection",),
        encode_detection,
        (b'path-prefix=/; sid-ptr="/a/0"; json-param=data\ndata=%7B%22a%22%3A%5B%22s%22%5D%7D',),
        (b"path-prefix=/", b"; sid-ptr=/", b"; json-param=", b"data=", b"~0", b"~1", b"/-", b'{"sid": "'),
    ),
    "items": Target(
        items,
        ("grip.test_item",),
        encode_item,
        (
            b'{"items":[{"channel":"a","id":"2","prev-id":"1","meta":{"sender":"u"},"no-seq":true,"formats":{'
            b'"http-response":{"code":"200","reason":"OK","headers":{"A":"b"},"body-patch":[{"op":"add","path":"/a",'
            b'"value":1}],"content-filters":["build-id"]},"http-stream":{"content-bin":"aGk="},"ws-message":{"action":'
            b'"close","code":1001,"reason":"bye"}}},{"channel":"b","ws-message":{"type":"ping","content":"x"}}]}',
        ),
        (b'"action"', b'"close"', b'"hint"', b'"refresh"', b'"content-bin"', b'"body-bin"', b'"body-patch"'),
    ),
    "zeromq": Target(
        zeromq_messages,
        ("grip.test_zeromq", "grip.test_item"),
        lambda value: (
            b"J" + json.encode(value) if isinstance(value, dict) and _is_json(value) else write_message(value)
        ),
        (
            b'J{"channel":"a","formats":{"http-stream":{"content":"x"}}}',
            b"T60:7:channel,1:a,7:formats,36:11:http-stream,17:7:content,2:\xff\n,}}}",
            b"a\x00T39:7:formats,26:10:ws-message,8:4:type,0:}}}",
            b"34:2:id,1:1,6:method,12:get-zmq-uris,}",
            b"108:4:args,78:5:items,66:62:7:formats,34:11:http-stream,15:7:content,2:\xff\n,}}7:channel,1:a,}]}6:method,7:"
            b"publish,}",
        ),
        (b"7:channel,", b"7:formats,", b"10:ws-message,", b"11:content-bin,", b"6:method,", b"4:args,", b"5:items,"),
    ),
    "tnetstring": Target(
        tnetstrings,
        ("grip.test_tnetstring",),
        seeds=(b"23:1:a,5:hello,1:b,2:42#}", b"5:1.5e3^", b"4:true!", b"0:~", b"8:1:1#1:2#]"),
    ),
    "events": Target(
        events,
        ("grip.test_events",),
        lambda value: value if isinstance(value, bytes) else None,
        (b"OPEN\r\nTEXT 5\r\nhello\r\nBINARY 0\r\n\r\nCLOSE 2\r\n\x03\xe8\r\nDISCONNECT\r\n",),
        _EVENTS,
    ),
    "control": Target(
        control,
        ("grip.test_events",),
        encode_control,
        (
            b'{"type":"subscribe","channel":"a","filters":["skip-self"]}',
            b'{"type":"keep-alive","content-bin":"AA==","message-type":"ping","timeout":20,"mode":"interval"}',
            b'{"type":"send-delayed","content":"x","timeout":1}',
            b'{"type":"set-meta","name":"user","value":"u"}',
            b'{"type":"session","id":"s"}',
            b'{"type":"detach"}',
        ),
        (b'"type"', b'"unsubscribe"', b'"flush-delayed"', b'"message-type"', b'"content-bin"', b'"filters"'),
    ),
    "session": Target(
        session,
        ("grip.test_websocket",),
        seeds=(
            bytes((4, 4, 4, 0, 1, 0, 1, 4, 0, 0, 3, 104, 105, 33, 4, 4, 3, 0, 0, 0, 1, 4, 1, 0, 0)),
            bytes((4, 4, 4, 0, 2, 3, 5, 2, 0, 1, 3, 4, 4, 2, 0, 1, 6, 1, 2, 5, 104, 101, 108, 108, 111)),
        ),
        words=_FIELDS + _EVENTS,
    ),
    "tokens": Target(
        tokens,
        ("grip.test_tokens",),
        seeds=(
            sign(KEYS[0], "realm", NOW).encode(),
            sign(KEYS[1], "other", NOW).encode(),
            b'{"iss":"realm","exp":1700000100,"nbf":1e400}',
            b'{"iss":["realm"],"exp":true}',
            b'{"exp":1' + b"0" * 400 + b"}",
        ),
        words=(b'"iss"', b'"exp"', b'"nbf"', b'"realm"', b"1700003600", b"."),
    ),
    "filters": Target(
        filters,
        ("grip.test_filters",),
        seeds=(b"id: %I\ndata: %(name)s %% %(a\\)b)I\n\n",),
        words=(b"%I", b"%(c)s", b"%(c)I", b"%%", b"\\)"),
    ),
    "cors": Target(
        cors,
        ("grip.test_cors",),
        _text_fields,
        (
            b"Origin: http://a.example\nAccess-Control-Request-Method: PUT\nAccess-Control-Request-Headers: X-A, X-B\n"
            b"\nVary: Accept\nETag: 1\nX-A: b\n\n",
        ),
        (b"Origin: http://a.example\n", b"Vary: *\n", b"Access-Control-Allow-Origin: ", b"Access-Control-"),
    ),
}


def _is_json(value: object) -> bool:
    try:
        json.encode(value)
    except (TypeError, ValueError):
        return False
    return True


def write_message(value: object) -> bytes | None:
    """A message from a table: bytes as they are, values that have a typed netstring in that."""
    if isinstance(value, bytes):
        return value
    try:
        return b"T" + tnetstring.encode(value) if isinstance(value, dict) else None  # type: ignore[arg-type]
    except (AttributeError, TypeError):
        return None
