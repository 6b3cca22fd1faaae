"""What one subscriber makes of items: order on reliable channels, and the filters of its subscriptions."""

import pytest

from gripproxy.errors import FilterError
from gripproxy.grip.instruct import Channel
from gripproxy.grip.item import HttpStream, Item
from gripproxy.grip.reception import Reception


def item(identifier: str | None = None, prev_id: str | None = None, no_seq: bool = False, **meta: str) -> Item:
    return Item("c", identifier, prev_id, stream=HttpStream("send", b"x"), meta=meta, no_seq=no_seq)


HISTORY = [item("1", "0"), item("2", "1"), item("3", "2")]


def since(channel: str, last_id: str) -> list[Item] | None:
    """Tell what came after an item of HISTORY."""
    ids = ["0", *(one.id for one in HISTORY)]
    return HISTORY[ids.index(last_id) :] if channel == "c" and last_id in ids else None


def reliable(prev_id: str) -> Reception:
    return Reception([Channel("c", prev_id)], {})


def ids(items: list[Item] | None) -> list[str | None] | None:
    return None if items is None else [one.id for one in items]


def test_without_a_prev_id_every_item_is_admitted() -> None:
    reception = Reception([Channel("c")], {})
    assert [["9"], ["1"], [None]] == [
        ids(reception.admit("c", one, since)) for one in (item("9", "8"), item("1"), item())
    ]


@pytest.mark.parametrize(
    ("at", "one", "expected"),
    [
        ("2", item("3", "2"), ["3"]),  # what follows
        ("3", item("3", "2"), []),  # has it already
        ("1", item("3", "2"), ["2", "3"]),  # a gap that the history closes
        ("x", item("3", "2"), None),  # a gap that only the backend can close
        ("3", item("2", "1"), []),  # was published before the state that the client has
        ("x", item("9"), None),  # does not say what it follows
        ("2", item(None), None),
        ("2", item(None, "2"), [None]),
        ("2", item("9", no_seq=True), ["9"]),  # has no place in the order
        ("2", item(None, no_seq=True), [None]),
        ("x", item("9", "8", no_seq=True), None),
    ],
)
def test_a_reliable_channel(at: str, one: Item, expected: list[str | None] | None) -> None:
    assert expected == ids(reliable(at).admit("c", one, since))


def test_where_the_client_is_follows_what_it_gets() -> None:
    reception = reliable("0")
    assert {"c": "0"} == reception.last_ids()
    for one, expected in (
        (item("1", "0"), "1"),
        (item("9", no_seq=True), "1"),
        (item(None, "1"), "1"),
        (item("2", "1", no_seq=True), "2"),
    ):
        reception.reach("c", one)
        assert {"c": expected} == reception.last_ids()


def test_only_steps_in_order_move_a_client() -> None:
    reception = Reception([Channel("c", "0"), Channel("d")], {})
    assert [True, False, False] == [
        reception.reach("c", item("1", "0")),
        reception.reach("c", item("1", "0")),
        reception.reach("d", item("1", "0")),
    ]


@pytest.mark.parametrize(("at", "expected"), [("1", ["2", "3"]), ("3", []), ("x", None)])
def test_catching_up(at: str, expected: list[str | None] | None) -> None:
    """The history tells what is missing, that nothing is, or cannot tell."""
    assert expected == ids(reliable(at).catch_up("c", since))


@pytest.mark.parametrize(
    ("channels", "expected"),
    [([Channel("c")], True), ([Channel("c", "1")], False), ([Channel("c", None, ("skip-self",))], False)],
)
def test_only_plain_channels_need_no_reception(channels: list[Channel], expected: bool) -> None:
    assert expected == Reception(channels, {}).is_plain


def test_a_removed_channel_is_forgotten() -> None:
    reception = Reception([Channel("c", "1", ("skip-self",))], {})
    reception.remove("c")
    reception.remove("c")
    assert (True, frozenset(), {}) == (reception.is_plain, reception.channels, reception.last_ids())


def test_subscribing_again_can_end_filters() -> None:
    reception = Reception([Channel("c", None, ("skip-self",))], {})
    reception.add(Channel("c"))
    assert reception.is_plain


def test_the_prefix_is_not_seen_from_inside() -> None:
    reception = Reception([Channel("pre-c", "1")], {}, "pre-")
    assert (frozenset({"c"}), {"c": "1"}) == (reception.channels, reception.last_ids())


def test_a_channel_of_the_routes_own_has_no_prefix_to_be_taken_away() -> None:
    reception = Reception([Channel("news"), Channel("pre-c", None, ("require-sub",))], {}, "pre-")
    assert b"x" == reception.content("pre-c", item(require_sub="news"), b"x", None)
    reception.remove("news")
    assert None is reception.content("pre-c", item(require_sub="news"), b"x", None)


@pytest.mark.parametrize(
    ("filters", "meta", "one", "expected"),
    [
        ((), {}, item(), b"x"),
        (("skip-users",), {"user": "a"}, item(skip_users="a,b"), None),
        (("skip-users",), {"user": "c"}, item(skip_users="a,b"), b"x"),
        (("require-sub",), {}, item(require_sub="other"), None),
        (("require-sub",), {}, item(require_sub="c"), b"x"),
    ],
)
def test_filters_decide_who_gets_an_item(
    filters: tuple[str, ...], meta: dict[str, str], one: Item, expected: bytes | None
) -> None:
    reception = Reception([Channel("c", None, filters)], meta)
    assert expected == reception.content("c", one, b"x", None)


def test_filters_change_content() -> None:
    reception = Reception([Channel("c", None, ("var-subst",))], {"user": "alice"})
    assert b"hi alice" == reception.content("c", item(), b"hi %(user)s", ("var-subst",))


@pytest.mark.parametrize("names", [("var-subst",), ("build-id", "var-subst")])
def test_content_for_other_filters_is_not_for_this_client(names: tuple[str, ...]) -> None:
    assert Reception([Channel("c")], {}).content("c", item(), b"%(user)s", names) is None


def test_a_filter_that_fails_is_an_error() -> None:
    reception = Reception([Channel("c", None, ("var-subst",))], {})
    with pytest.raises(FilterError):
        reception.content("c", item(), b"%(nobody)s", ("var-subst",))


def test_the_first_body_goes_through_filters_that_make_ids() -> None:
    channel = Channel("c", "5", ("build-id",))
    assert b"id: 5" == Reception([channel], {"id_format": "%(c)s"}).response([channel], b"id: %I")
    assert b"id: %I" == Reception([Channel("c")], {}).response([Channel("c")], b"id: %I")


@pytest.mark.parametrize(
    ("at", "last_id", "expected"),
    [("2", "2", True), ("3", "1", True), ("1", "3", False), ("3", "x", False), ("x", "3", False)],
)
def test_what_a_client_has(at: str, last_id: str, expected: bool) -> None:
    assert expected is reliable(at).has("c", last_id, since)


def test_of_a_channel_without_ids_nobody_knows_what_a_client_has() -> None:
    assert not Reception([Channel("c")], {}).has("c", "3", since)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ([Channel("pre-c", "2"), Channel("pre-d", "x")], True),
        ([Channel("pre-c", "3"), Channel("pre-d", "x")], False),
        ([Channel("pre-c", "2")], False),
        ([Channel("pre-c", "2"), Channel("pre-d")], False),
        ([Channel("pre-c", "2"), Channel("pre-d", "x"), Channel("pre-e", "1")], False),
    ],
)
def test_a_client_has_all_that_is_told(channels: list[Channel], expected: bool) -> None:
    reception = Reception([Channel("pre-c", "2"), Channel("pre-d", "x")], {}, "pre-")
    assert expected is reception.has_all(
        channels, lambda channel, last_id: since(channel[4:], last_id), lambda channel, last_id: False
    )


def test_a_client_has_what_somebody_else_knows() -> None:
    reception = Reception([Channel("c", "y")], {})
    assert reception.has_all([Channel("c", "x")], since, lambda channel, last_id: (channel, last_id) == ("c", "x"))
