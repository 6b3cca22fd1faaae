"""What a network bus carries: batches, numbered by the process that took them from a publisher.

The numbers of one publisher are 1, 2, 3, ... in the order in which its entries were sent. So whoever reads can tell an
entry that comes again (its publisher did not hear that it had arrived) from a new one, and sees a hole where one is
lost.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from gripproxy.errors import GripError
from gripproxy.grip.item import Item

# Of the coding below. A process that meets another one cannot know what it misses.
VERSION = b"1"

# Publishers whose latest number is remembered: processes of a cluster, each new one at its start.
PUBLISHERS_MAX = 10_000

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Item, ...])


class EntryError(ValueError):
    """What stands in the bus is no entry, or one of a version that is not known here."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: a batch of a realm; a request to recover (``items`` None); or nothing (``items`` empty).

    Nothing is what stands in place of a batch that its publisher was told is refused, so that the numbers go on.
    """

    publisher: str
    number: int
    realm: str
    items: tuple[Item, ...] | None

    def encode(self) -> dict[Any, Any]:
        """Return the fields of a stream entry."""
        return {
            b"v": VERSION,
            b"p": self.publisher,
            b"n": self.number,
            b"r": self.realm,
            b"i": b"" if self.items is None else _encoder.encode(self.items),
        }

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> "Entry":
        """Read the fields of a stream entry.

        Raises: EntryError, naming the field.
        """
        if fields.get(b"v") != VERSION:
            raise EntryError(f"v: must be {VERSION!r}, not {fields.get(b'v')!r:.40}")
        missing = [name.decode() for name in (b"p", b"n", b"r", b"i") if name not in fields]
        if missing:
            raise EntryError(f"{missing[0]}: is missing")
        number = fields[b"n"]
        if not number.isdigit() or len(number) > 18:
            raise EntryError(f"n: must be a number, not {number!r:.40}")
        try:
            publisher, realm = fields[b"p"].decode(), fields[b"r"].decode()
            items = _decoder.decode(fields[b"i"]) if fields[b"i"] else None
        except (ValueError, GripError, RecursionError) as error:
            raise EntryError(f"i: {error}") from None
        return cls(publisher, int(number), realm, items)


class Verdict(Enum):
    """What the number of an entry says."""

    NEW = "new"
    SEEN = "seen"
    # It is new, and one before it is lost.
    HOLE = "hole"


class Ledger:
    """The latest number of each publisher."""

    __slots__ = ("_latest", "_most")

    def __init__(self, most: int = PUBLISHERS_MAX) -> None:
        self._latest: OrderedDict[str, int] = OrderedDict()
        self._most = most

    def judge(self, publisher: str, number: int) -> Verdict:
        """Note a number, and say what it means.

        Of a publisher that is not known any number is good: it may have been here before this process.
        """
        latest = self._latest.get(publisher)
        if latest is not None and number <= latest:
            return Verdict.SEEN
        self._latest[publisher] = number
        self._latest.move_to_end(publisher)
        if len(self._latest) > self._most:
            self._latest.popitem(last=False)
        return Verdict.NEW if latest is None or number == latest + 1 else Verdict.HOLE
