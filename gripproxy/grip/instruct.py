"""What a backend wants done with its response: hold it, on which channels, and what the client sees.

Instructions come as ``Grip-*`` fields or as a JSON body (``application/grip-instruct``), or both. They are first
brought into one mapping of plain values, each with the name that an error calls it by, and then checked by one
function, so that the two styles cannot disagree. A value of this module is always legal. (Reading is in styles.py.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from gripproxy.errors import InstructError
from gripproxy.grip import members
from gripproxy.grip.coding import decode_body
from gripproxy.grip.detection import DetectRule, session_id
from gripproxy.grip.fields import (
    REASONS,
    Fields,
    decode_base64,
    decode_cstring,
    has_control,
    is_base64,
    media_type,
)
from gripproxy.grip.members import WrongError, shown
from gripproxy.grip.styles import INSTRUCT_TYPE, Plain, checked, read_fields, read_json

HOLDS = ("response", "stream")
KEEP_ALIVE_MODES = ("idle", "interval")

RESPONSE_TIMEOUT = 55  # seconds; Pushpin's, below the 60 s after which common proxies give up
RESPONSE_TIMEOUT_FLOOR = 5  # seconds; Pushpin's: shorter holds are polling in disguise
KEEP_ALIVE_TIMEOUT = 55  # seconds; Pushpin's
NEXT_LINK_TIMEOUT = 120  # seconds; Pushpin's
FILTERS_MAX = 5  # for each channel; Pushpin's


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel to subscribe to; ``prev_id`` is the id of the item that the response already shows.

    Raises:
        InstructError: Name or id is not legal, or there are more filters than `FILTERS_MAX`.
    """

    name: str
    prev_id: str | None = None
    filters: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            members.channel_name(self.name)
        except WrongError as wrong:
            raise InstructError(f"channel name {wrong.problem}") from None
        if self.prev_id is not None:
            try:
                members.identifier(self.prev_id)
            except WrongError as wrong:
                raise InstructError(f"prev-id {wrong.problem}") from None
        if len(self.filters) > FILTERS_MAX:
            raise InstructError(
                f"too many filters for channel {self.name!r}: {len(self.filters)}, not at most {FILTERS_MAX}"
            )


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Bytes to send after ``timeout`` seconds of silence (mode ``idle``), or every so often (mode ``interval``)."""

    content: bytes
    timeout: int = KEEP_ALIVE_TIMEOUT
    mode: str = "idle"

    def __post_init__(self) -> None:
        if not self.content:
            raise InstructError("content must not be empty")
        if self.timeout < 1:
            raise InstructError(f"timeout must be at least 1 second, not {self.timeout}")
        if self.mode not in KEEP_ALIVE_MODES:
            raise InstructError(f"mode must be 'idle' or 'interval', not {shown(self.mode)}")


@dataclass(frozen=True, slots=True)
class Link:
    """A URI reference to follow, for the caller to resolve; ``timeout`` is in seconds (next links only)."""

    uri: str
    timeout: int | None = None

    def __post_init__(self) -> None:
        uri = self.uri
        if not uri:
            raise InstructError("URI must not be empty")
        if " " in uri or has_control(uri) or not uri.isascii():
            raise InstructError(f"URI must have no blank, control or non-ASCII character: {shown(uri)}")
        try:
            parts = urlsplit(uri)
            _ = parts.port
        except ValueError as error:
            raise InstructError(f"URI {shown(uri)} is malformed: {error}") from None
        if parts.scheme not in ("", "http", "https") or (parts.scheme and not parts.netloc):
            raise InstructError(f"URI must be relative, http or https, not {shown(uri)}")
        # A user's name is an error in an http URI (RFC 9110 section 4.2.4).
        if parts.netloc and (not parts.hostname or parts.port == 0 or "@" in parts.netloc):
            raise InstructError(f"URI must name a server that can be asked, not {shown(uri)}")


@dataclass(frozen=True, slots=True)
class Instruct:
    """A backend's response, read: the hold, and in ``status, reason, fields, body`` what the client sees.

    ``hold`` is ``"response"``, ``"stream"`` or None; ``timeout`` is that of a response hold, in seconds. ``fields`` has
    no ``Grip-*``, no hop-by-hop field and no ``Content-Length``. ``last_ids`` are pairs of channel and id
    (``Grip-Last``), for the session ``session_id``; ``detect_rules`` say which later requests belong to a session.
    ``has_body_instruct`` tells that the backend's body was instructions, not something to send.
    """

    hold: str | None
    channels: tuple[Channel, ...] = ()
    timeout: int = RESPONSE_TIMEOUT
    keep_alive: KeepAlive | None = None
    meta: Mapping[str, str] = field(default_factory=dict)
    next_link: Link | None = None
    gone_link: Link | None = None
    last_ids: tuple[tuple[str, str], ...] = ()
    session_id: str | None = None
    detect_rules: tuple[DetectRule, ...] = ()
    status: int = 200
    reason: str = "OK"
    fields: Fields = ()
    body: bytes = b""
    has_body_instruct: bool = False

    def __post_init__(self) -> None:
        if self.hold is not None and self.hold not in HOLDS:
            raise InstructError(f"hold must be 'response' or 'stream', not {shown(self.hold)}")

    @classmethod
    def from_response(cls, status: int, reason: str, fields: Fields, body: bytes) -> "Instruct":
        """Read a backend's response; one without instructions has no hold and is for the client as it is.

        JSON instructions extend and override those of the fields (GRIP protocol; Pushpin's instruct.cpp). A body that
        the proxy has to read, or to go on with, is decoded.

        Raises:
            InstructError: An instruction is malformed, or a JSON one came with another status than 200.
        """
        given: Plain = {}
        kept, is_json = read_fields(fields, given)
        if "coding" in given and (is_json or not given.keys().isdisjoint(_NEED_BODY)):
            try:
                body = decode_body(given["coding"], body)
            except ValueError as error:
                raise InstructError(f"Content-Encoding {error}") from None
            kept = tuple(pair for pair in kept if pair[0].lower() != b"content-encoding")
        if is_json:
            if status != 200:
                raise InstructError(f"status of an {INSTRUCT_TYPE} response must be 200, not {status}")
            read_json(body, given)
            kept, body = (), b""
        return _instruct(given, status, reason, kept, body, is_json)


def is_instruct(fields: Fields) -> bool:
    """Whether a response carries instructions: any ``Grip-*`` field, even an unknown one, or the JSON media type."""
    for name, value in fields:
        if name[:5].lower() == b"grip-":
            return True
        # The length first: this runs for every field of every response.
        if len(name) == 12 and name.lower() == b"content-type" and media_type(value) == INSTRUCT_TYPE:
            return True
    return False


# Instructions because of which the body has to be legible: it is filtered, patched, or more is appended to it.
_NEED_BODY = frozenset({"hold", "next", "channels"})

_status = members.integer(200, 999)  # Pushpin takes 0 to 999, but what is below 200 cannot end a request
_seconds = members.integer(0)


def _hold(value: Any) -> str:
    if value not in HOLDS:
        raise WrongError(f"must be 'response' or 'stream', not {shown(value)}")
    return str(value)


def _channel(value: Any) -> Channel:
    plain = members.obj(value)
    if "name" not in plain:
        raise WrongError("does not contain 'name'")
    name = members.member(plain, "name", members.string)
    if len(plain) == 1:
        return Channel(name)
    # An empty prev-id would never match an item's id, and the client would be replayed for ever.
    prev_id = members.member(plain, "prev-id", members.string) or None
    return Channel(name, prev_id, members.member(plain, "filters", members.strings, ()))


def _keep_alive(value: Any) -> KeepAlive:
    plain = members.obj(value)
    if "content-bin" in plain:
        content = members.member(plain, "content-bin", members.base64)
    elif "content" in plain:
        given_format = members.member(plain, "format", members.string, "raw")
        if given_format not in _KEEP_ALIVE_FORMATS:
            raise WrongError(f"format must be 'raw', 'cstring' or 'base64', not {shown(given_format)}")
        content = members.member(
            plain, "content", lambda given: _KEEP_ALIVE_FORMATS[given_format](members.string(given))
        )
    else:
        raise WrongError("does not contain 'content' or 'content-bin'")
    timeout = max(1, members.member(plain, "timeout", _seconds, KEEP_ALIVE_TIMEOUT))
    # Pushpin's JSON style cannot give a mode and behaves like "interval"; here both styles are idle by default.
    return KeepAlive(content, timeout, members.member(plain, "mode", members.string, "idle"))


def _keep_alive_raw(content: str) -> bytes:
    return content.encode("utf-8", "surrogateescape")


def _keep_alive_cstring(content: str) -> bytes:
    try:
        return decode_cstring(content)
    except ValueError as error:
        raise WrongError(f"must be a cstring, not {shown(content)}: {error}") from None


def _keep_alive_base64(content: str) -> bytes:
    if content[:2] == "b'" and content[-1] == "'":  # django-grip writes bytes as Python shows them: b'AP8='
        content = content[2:-1]
    if not is_base64(content):
        raise WrongError(f"must be base64, not {shown(content)}")
    return decode_base64(content)


_KEEP_ALIVE_FORMATS: dict[str, Callable[[str], bytes]] = {
    "raw": _keep_alive_raw,
    "cstring": _keep_alive_cstring,
    "base64": _keep_alive_base64,
}


def _link(plain: Plain, timeout: int | None) -> Link:
    uri = plain["uri"]
    if not uri.isascii():
        uri = quote(uri, safe="".join(map(chr, range(128))))
    return Link(uri, timeout)


def _next_link(plain: Plain) -> Link:
    return _link(plain, members.member(plain, "timeout", _seconds, NEXT_LINK_TIMEOUT))


def _gone_link(plain: Plain) -> Link:
    return _link(plain, None)


def _last_id(value: Any) -> tuple[str, str]:
    channel = _channel(value)
    if channel.prev_id is None:
        raise WrongError("must have a last-id")
    return channel.name, channel.prev_id


def _session_id(value: Any) -> str | None:
    return session_id(value) if value else None


def _detect_rule(value: Any) -> DetectRule:
    plain = members.obj(value)
    for name in ("path-prefix", "sid-ptr"):
        if name not in plain:
            raise WrongError(f"must have a {name}")
    return DetectRule(plain["path-prefix"], plain["sid-ptr"], plain.get("json-param"))


def _body(given: Plain) -> bytes:
    if "body-bin" in given:
        return bytes(checked(given["body-bin"][0], members.base64, given["body-bin"][1]))
    return bytes(checked(given["body"][0], members.utf8, given["body"][1])) if "body" in given else b""


def _instruct(given: Plain, status: int, reason: str, fields: Fields, body: bytes, has_body_instruct: bool) -> Instruct:
    """The one check of both styles."""

    def optional(name: str, check: Callable[[Any], Any], default: Any = None) -> Any:
        return checked(given[name][0], check, given[name][1]) if name in given else default

    channels = tuple([checked(label, _channel, plain) for label, plain in given.get("channels", ())])
    if len(channels) > 1:  # the last of a name wins, as in Pushpin
        channels = tuple({channel.name: channel for channel in channels}.values())
    meta: dict[str, str] = {}
    for label, plain in given.get("meta", ()):
        meta.update(checked(label, members.string_map, plain))
    if "code" in given:
        status, reason = optional("code", _status), ""
    reason = optional("reason", members.reason, "") or reason or REASONS.get(status, "Undefined Reason")
    if has_body_instruct:
        fields, body = optional("headers", members.header_fields, ()), _body(given)
    return Instruct(
        hold=optional("hold", _hold),
        channels=channels,
        timeout=max(RESPONSE_TIMEOUT_FLOOR, optional("timeout", _seconds, RESPONSE_TIMEOUT)),
        keep_alive=optional("keep-alive", _keep_alive),
        meta=meta,
        next_link=optional("next", _next_link),
        gone_link=optional("gone", _gone_link),
        last_ids=tuple([checked(label, _last_id, plain) for label, plain in given.get("last", ())]),
        session_id=optional("session", _session_id),
        detect_rules=tuple([checked(label, _detect_rule, plain) for label, plain in given.get("detect", ())]),
        status=status,
        reason=reason,
        fields=fields,
        body=body,
        has_body_instruct=has_body_instruct,
    )
