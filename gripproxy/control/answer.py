"""Answers of the control door: text or JSON, as the client prefers, encoded once and written as they are.

What is refused is raised as a ``RefusalError`` and becomes an answer in one place.
"""

import json
from functools import lru_cache

from aiohttp import web

from gripproxy.errors import GripError
from gripproxy.grip import wire
from gripproxy.grip.fields import Fields, parse_parameters, split_list

TEXT, JSON = "text/plain", "application/json"
CONTENT_TYPES = {TEXT: b"text/plain; charset=utf-8", JSON: b"application/json"}

# What each form of an answer matches, from the least to the most specific range (RFC 9110 12.5.1).
RANGES = {TEXT: ("*/*", "text/*", TEXT), JSON: ("*/*", "application/*", JSON)}


# Names and values of a JSON object.
Members = tuple[tuple[str, int | str], ...]


class RefusalError(GripError):
    """A request that is answered with an error.

    ``is_last`` when what follows on the connection is not to be read; ``members`` are said beside the text, in JSON.
    """

    def __init__(
        self, status: int, text: str, fields: Fields = (), is_last: bool = False, members: Members = ()
    ) -> None:
        super().__init__(text)
        self.status = status
        self.fields = fields
        self.is_last = is_last
        self.members = members


class Answer:
    """A response whose bytes are ready, shared by all who get the same; it has what aiohttp asks of a response.

    A ``web.Response`` costs more than all the rest of a small publish.
    """

    __slots__ = ("keep_alive", "status", "wire")

    def __init__(self, status: int, payload: bytes, keep_alive: bool) -> None:
        self.status = status
        self.wire = payload
        self.keep_alive = keep_alive

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write it. Raises: ConnectionError when the client has gone, which aiohttp takes as what it is."""
        await request.writer.write(self.wire)

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: ``prepare`` wrote everything."""


@lru_cache(maxsize=256)
def encode_answer(
    status: int,
    form: str | None,
    text: str,
    keep_alive: int | None,
    fields: Fields = (),
    head_only: bool = False,
    members: Members = (),
) -> Answer:
    """Return text, or its JSON form, as an Answer; ``keep_alive`` is the idle time to announce, None closes."""
    if form == JSON:
        member = "message" if status < 400 else "error"
        content = json.dumps({member: text, **dict(members)}, separators=(",", ":"))
    else:
        content = text
    body = content.encode("utf-8", "backslashreplace") + b"\n"
    return encode_body(status, CONTENT_TYPES[form or TEXT], body, keep_alive, fields, head_only)


def encode_body(
    status: int,
    content_type: bytes,
    body: bytes,
    keep_alive: int | None,
    fields: Fields = (),
    head_only: bool = False,
) -> Answer:
    """Return a body as an Answer; ``head_only`` for HEAD."""
    head: Fields = ((b"Content-Type", content_type), *fields)
    if keep_alive is not None:
        # Node learns from this how long it may use the connection; HTTP/1.0 clients need the first of the two.
        head += ((b"Connection", b"keep-alive"), (b"Keep-Alive", b"timeout=%d" % keep_alive))
    payload = wire.encode_response(status, "", head, body, head_only=head_only, is_last=keep_alive is None)
    return Answer(status, payload, keep_alive is not None)


@lru_cache(maxsize=256)
def negotiate(accept: str) -> str | None:
    """Return the form that a client prefers, None when it takes neither (RFC 9110 12.5.1).

    Between forms of equal quality the one named more precisely wins, then the one named first; without any preference
    it is text. Pushpin takes the last and knows no quality.
    """
    # form -> precision, quality, place
    ratings = {TEXT: (0, 0.0, 0), JSON: (0, 0.0, 0)}
    is_empty = True
    for place, part in enumerate(split_list(accept)):
        parsed = parse_parameters(part)
        if parsed is None:
            continue
        is_empty = False
        media_range = parsed[0].lower()
        for form, ranges in RANGES.items():
            precision = ranges.index(media_range) + 1 if media_range in ranges else int(media_range == "*")
            if precision > ratings[form][0]:
                ratings[form] = (precision, _quality(parsed[1]), place)
    if is_empty:
        return TEXT
    best = max((TEXT, JSON), key=lambda form: (ratings[form][1], ratings[form][0], -ratings[form][2]))
    return best if ratings[best][1] > 0 else None


def _quality(parameters: list[tuple[str, str]]) -> float:
    text = next((value for name, value in parameters if name.lower() == "q"), "1")
    try:
        quality = float(text)
    except ValueError:
        return 1.0
    return quality if 0.0 <= quality <= 1.0 else 1.0
