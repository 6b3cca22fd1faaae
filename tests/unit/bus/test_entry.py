"""Entries of a network bus are read as they were written, or refused; their numbers tell what is new or lost."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gripproxy.bus.entry import Entry, EntryError, Ledger, Verdict
from gripproxy.grip.item import parse_items

ITEMS = parse_items(
    b"""{"items": [
    {"channel": "a", "id": "2", "prev-id": "1", "meta": {"k": "v"}, "no-seq": true,
     "http-response": {"code": 404, "headers": {"A": "b", "Grip-Expose-Headers": "A"}, "body-bin": "/w=="},
     "http-stream": {"content-bin": "/w==", "content-filters": ["build-id"]},
     "ws-message": {"action": "close", "code": 4000, "reason": "bye"}},
    {"channel": "\\u00e9",
     "http-response": {"body-patch": [{"op": "add", "path": "/a", "value": [1, null, {"b": 2.5}]}]}},
    {"channel": "c", "ws-message": {"type": "ping"}}
    ]}"""
)


def stored(entry: Entry) -> dict[bytes, bytes]:
    """What Redis gives back: bytes."""
    return {
        name: str(value).encode() if not isinstance(value, bytes) else value for name, value in entry.encode().items()
    }


@pytest.mark.parametrize("items", [ITEMS, (), None], ids=["items", "nothing", "recover"])
def test_an_entry_comes_back_as_it_was(items: Any) -> None:
    entry = Entry("0f", 7, "headline", items)

    assert entry == Entry.decode(stored(entry))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({b"v": b"2"}, "v: must be b'1', not b'2'"),
        ({b"v": None}, "v: must be b'1', not None"),
        ({b"n": None}, "n: is missing"),
        ({b"i": None}, "i: is missing"),
        ({b"n": b"-1"}, "n: must be a number, not b'-1'"),
        ({b"n": b"9" * 19}, "n: must be a number"),
        ({b"r": b"\xff"}, "i: 'utf-8' codec"),
        ({b"i": b"\xc1"}, "i: "),
        ({b"i": b"\x91\x80"}, "i: "),
        ({b"i": b"\x91\x81\xa7channel\xa0"}, "i: "),
    ],
)
def test_what_is_no_entry_is_refused(change: dict[bytes, bytes | None], text: str) -> None:
    fields = {**stored(Entry("0f", 7, "headline", ITEMS)), **change}

    with pytest.raises(EntryError, match=text):
        Entry.decode({name: value for name, value in fields.items() if value is not None})


@given(st.dictionaries(st.sampled_from([b"v", b"p", b"n", b"r", b"i"]), st.binary(max_size=40) | st.just(b"1")))
def test_anything_else_in_the_stream_is_refused_and_nothing_worse(fields: dict[bytes, bytes]) -> None:
    try:
        Entry.decode(fields)
    except EntryError:
        pass


def test_numbers_tell_what_is_new_what_was_seen_and_what_is_lost() -> None:
    ledger = Ledger()

    assert [Verdict.NEW, Verdict.NEW, Verdict.SEEN, Verdict.SEEN, Verdict.HOLE, Verdict.NEW, Verdict.SEEN] == [
        ledger.judge("a", number) for number in (5, 6, 6, 5, 8, 9, 7)
    ]
    assert Verdict.NEW == ledger.judge("b", 1)


def test_only_so_many_publishers_are_remembered() -> None:
    ledger = Ledger(2)
    for publisher in ("a", "b", "a", "c"):
        ledger.judge(publisher, 1 if publisher != "a" else len(publisher))

    assert Verdict.SEEN == ledger.judge("c", 1)
    assert Verdict.NEW == ledger.judge("a", 1)
