"""The named filters of a subscription: who is skipped, and what the content becomes for the others.

A filter aims at delivery (an item is dropped for this subscriber), at message content, or at response content (the body
that a hold begins with). They run in the order in which the subscription names them; unknown names are ignored. The two
HTTP filters need a request, which the caller makes: `http_request` says what to send, `http_outcome` what it meant.
"""

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from msgspec import json

from gripproxy.errors import FilterError
from gripproxy.grip.fields import Fields, field
from gripproxy.grip.item import Item
from gripproxy.grip.wire import encode_last_ids

HTTP_FILTER_TIMEOUT = 10.0  # seconds for the whole request; Pushpin's
HTTP_FILTER_BODY_MAX = 100_000  # bytes of the response; Pushpin's
HTTP_FILTER_RATE = 100  # requests a second for each URL; Pushpin's
# Bytes that directives may put into one content: many short ones can each stand for a long value.
PUT_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Scope:
    """What filters know of the subscriber.

    ``meta`` is the subscription's. ``channels`` are all that the connection is subscribed to, without a route's prefix.
    ``last_ids`` are the ids that the client has seen on each channel once it has the item: with the item's own.
    """

    meta: Mapping[str, str]
    channels: frozenset[str]
    last_ids: Mapping[str, str]


Drops = Callable[[Item, Scope], bool]
Changes = Callable[[bytes, Scope], bytes]


# --- delivery


def skip_self(item: Item, scope: Scope) -> bool:
    """Drop what the subscriber sent itself: item meta ``sender`` is subscription meta ``user``."""
    user = scope.meta.get("user")
    return bool(user) and item.meta.get("sender") == user


def skip_users(item: Item, scope: Scope) -> bool:
    """Drop if subscription meta ``user`` is in item meta ``skip_users``, a comma list."""
    user = scope.meta.get("user")
    skipped = item.meta.get("skip_users")
    return bool(user and skipped) and user in [name.strip() for name in str(skipped).split(",")]


def require_sub(item: Item, scope: Scope) -> bool:
    """Drop if item meta ``require_sub`` names a channel that the connection is not subscribed to."""
    required = item.meta.get("require_sub")
    return bool(required) and required not in scope.channels


# --- content


def build_id(content: bytes, scope: Scope) -> bytes:
    """Put ids into content: ``%I`` is one made from subscription meta ``id_format``, ``%(text)I`` is that text.

    In ``id_format``, ``%(channel)s`` is that channel's last id. Meta ``id_encoding`` "hex" encodes either. Unlike in
    Pushpin, ``%I`` also works in the body that a hold begins with, and the id is not made where no ``%I`` asks for it.

    Raises:
        FilterError: ``id_format`` is missing or wrong, the encoding is unknown, or a directive is.
    """
    id_format = scope.meta.get("id_format")
    if id_format is None:
        raise FilterError("no sub meta 'id_format'")
    encoding = scope.meta.get("id_encoding")
    if encoding not in (None, "hex"):
        raise FilterError(f"unsupported encoding: {encoding}")

    made: bytes | None = None

    def put(directive: bytes, argument: bytes | None) -> bytes:
        nonlocal made
        if directive != b"I":
            raise FilterError(_unknown(directive))
        if argument is None:
            argument = made = _last_ids(id_format, scope) if made is None else made
        return argument.hex().encode() if encoding else argument

    return render(content, put)


def _last_ids(id_format: str, scope: Scope) -> bytes:
    try:
        return render(id_format.encode(), _variables(scope.last_ids))
    except FilterError as error:
        raise FilterError(f"failed to render ID: {error}") from None


def var_subst(content: bytes, scope: Scope) -> bytes:
    """Put subscription meta into content: ``%(name)s`` is the value of that name.

    Raises:
        FilterError: There is no such name, or the directive is unknown.
    """
    return render(content, _variables(scope.meta))


def _variables(values: Mapping[str, str]) -> Callable[[bytes, bytes | None], bytes]:
    def put(directive: bytes, argument: bytes | None) -> bytes:
        if directive != b"s":
            raise FilterError(_unknown(directive))
        if argument is None:
            raise FilterError("Directive 's' requires argument")
        name = argument.decode("utf-8", "replace")
        value = values.get(name)
        if value is None:
            raise FilterError(f"No such variable '{name}'")
        return value.encode()

    return put


# --- templates

# Possessive: an unclosed parenthesis costs one pass.
_DIRECTIVE = re.compile(rb"%(?:\(((?:[^\\)]|\\.)*+)\)(.)|(.)|\Z)", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def render(template: bytes, put: Callable[[bytes, bytes | None], bytes]) -> bytes:
    """Replace directives: ``%X`` and ``%(argument)X`` by what ``put(X, argument)`` returns, ``%%`` by a percent sign.

    A backslash in an argument makes the next character part of it; an empty argument is none. (Pushpin's format.cpp.)

    Raises:
        FilterError: A directive is incomplete or none, ``put`` refuses it, or all put in more than `PUT_MAX` bytes; the
            text ends with the position.
    """
    if b"%" not in template:
        return template
    size = 0

    def replace(match: re.Match[bytes]) -> bytes:
        nonlocal size
        argument, after, directive = match.groups()
        if directive == b"%":
            return b"%"
        if argument is None and not (directive and directive.isalpha()):
            raise FilterError(_incomplete(template, match.start()))
        try:
            value = put(directive, None) if argument is None else put(after, _ESCAPED.sub(rb"\1", argument) or None)
            size += len(value)
            if size > PUT_MAX:
                raise FilterError(f"directives put in more than {PUT_MAX} bytes")
        except FilterError as error:
            raise FilterError(f"{error} at position {match.end() - 1}") from None
        return value

    return _DIRECTIVE.sub(replace, template)


def _unknown(directive: bytes) -> str:
    return f"Unknown directive '{directive.decode('latin-1')}'"


def _incomplete(template: bytes, start: int) -> str:
    """Say why there is no directive at a percent sign, in Pushpin's words."""
    directive = template[start + 1 : start + 2]
    if not directive:
        return f"Expected directive after '%' at position {start}"
    if directive != b"(":
        return f"{_unknown(directive)} at position {start + 1}"
    if start + 2 == len(template):
        return f"Expected character after '(' at position {start + 1}"
    closed = re.match(rb"(?:[^\\)]|\\.)*+\)", template[start + 2 :], re.DOTALL)
    if closed:
        return f"Expected directive after ')' at position {start + 1 + closed.end()}"
    return f"Unterminated field starting at position {start + 1}"


# --- requests


Question = tuple[str, Fields, bytes]
"""What an HTTP filter posts: URL reference (relative to the current URI, ws as http), fields and body."""

Reply = tuple[int, Fields, bytes]
"""What it is answered: status, fields and body."""

Conversation = Generator[Question, Reply, bytes | None]
"""An item's way through filters that ask: it gives questions, takes replies, and ends with the content, or None."""


def http_request(name: str, content: bytes, item: Item, scope: Scope) -> Question:
    """What an HTTP filter posts.

    Raises:
        FilterError: Subscription meta has no ``url``.
    """
    url = scope.meta.get("url")
    if not url:
        raise FilterError(f"{name}: missing url value")
    fields = [(b"Sub-Meta", json.encode(dict(scope.meta))), (b"Pub-Meta", json.encode(dict(item.meta)))]
    return url, (*fields, *encode_last_ids(scope.last_ids)), content if HTTP_FILTERS[name] else b""


def http_outcome(name: str, content: bytes, status: int, fields: Fields, body: bytes) -> bytes | None:
    """What the answer to an HTTP filter's request makes of the content: None drops the item for this subscriber.

    Raises:
        FilterError: The status is neither 200 nor 204, or the body is too long.
    """
    if status not in (200, 204):
        raise FilterError(f"{name}: unexpected network request status: code={status}")
    if HTTP_FILTERS[name] and len(body) > HTTP_FILTER_BODY_MAX:
        raise FilterError(f"{name}: network response exceeded {HTTP_FILTER_BODY_MAX} bytes")
    if field(fields, b"action") == b"drop":
        return None
    return body if HTTP_FILTERS[name] and status == 200 else content


# --- the tables

DELIVERY_FILTERS: dict[str, Drops] = {
    "skip-self": skip_self,
    "skip-users": skip_users,
    "require-sub": require_sub,
}
CONTENT_FILTERS: dict[str, Changes] = {
    "build-id": build_id,
    "var-subst": var_subst,
}
RESPONSE_FILTERS: dict[str, Changes] = {
    "build-id": build_id,
}
HTTP_FILTERS: dict[str, bool] = {"http-check": False, "http-modify": True}
"""The filters that ask by HTTP, and whether they send content and may replace it."""


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of a subscription, looked up; make it with `compile_filters`.

    ``names`` are those that aim at items, in order. ``content_names`` are those of them that aim at message content:
    what an item's ``content-filters`` must equal.
    ``http_names`` are those that need a request.
    """

    names: tuple[str, ...] = ()
    content_names: tuple[str, ...] = ()
    http_names: tuple[str, ...] = ()
    drop_functions: tuple[Drops, ...] = ()
    content_functions: tuple[tuple[str, Changes], ...] = ()
    response_functions: tuple[tuple[str, Changes], ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any filter that does something."""
        return bool(self.drop_functions or self.content_names or self.http_names)

    def drops(self, item: Item, scope: Scope) -> bool:
        """Whether the item is not for this subscriber."""
        return any(drop(item, scope) for drop in self.drop_functions)

    def accepts(self, content_filters: tuple[str, ...] | None) -> bool:
        """Whether a format that asks for these filters may go to this subscription; None asks for nothing."""
        return content_filters is None or content_filters == self.content_names

    def content(self, content: bytes, scope: Scope) -> bytes:
        """A message's content as this subscriber gets it.

        Raises:
            FilterError: A filter could not be applied; the text begins with its name.
        """
        return _apply(self.content_functions, content, scope)

    def conversation(self, content: bytes, item: Item, scope: Scope) -> Conversation:
        """An item's way through all filters, one after the other, where some of them ask.

        Raises:
            FilterError: From the generator, when a filter could not be applied.
        """
        for name in self.names:
            if name in DELIVERY_FILTERS:
                if DELIVERY_FILTERS[name](item, scope):
                    return None
            elif name in CONTENT_FILTERS:
                content = _apply(((name, CONTENT_FILTERS[name]),), content, scope)
            else:
                reply = yield http_request(name, content, item, scope)
                outcome = http_outcome(name, content, *reply)
                if outcome is None:
                    return None
                content = outcome
        return content

    def response(self, body: bytes, scope: Scope) -> bytes:
        """The body that a hold begins with as this subscriber gets it.

        Raises:
            FilterError: A filter could not be applied; the text begins with its name.
        """
        return _apply(self.response_functions, body, scope)


def compile_filters(names: tuple[str, ...]) -> Filters:
    """Look up filters by name; unknown names are ignored, as clients may know filters that this proxy does not."""
    return Filters(
        names=tuple(name for name in names if name in DELIVERY_FILTERS | CONTENT_FILTERS | HTTP_FILTERS),
        content_names=tuple(name for name in names if name in CONTENT_FILTERS or HTTP_FILTERS.get(name)),
        http_names=tuple(name for name in names if name in HTTP_FILTERS),
        drop_functions=tuple(DELIVERY_FILTERS[name] for name in names if name in DELIVERY_FILTERS),
        content_functions=tuple((name, CONTENT_FILTERS[name]) for name in names if name in CONTENT_FILTERS),
        response_functions=tuple((name, RESPONSE_FILTERS[name]) for name in names if name in RESPONSE_FILTERS),
    )


def _apply(functions: tuple[tuple[str, Changes], ...], content: bytes, scope: Scope) -> bytes:
    for name, change in functions:
        try:
            content = change(content, scope)
        except FilterError as error:
            raise FilterError(f"{name}: {error}") from None
    return content
