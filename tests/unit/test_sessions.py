"""What sessions know: last ids by whichever connection they came, rules, and the ends of the tables."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gripproxy.config import Limits
from gripproxy.grip.detection import DetectRule, session_fields
from gripproxy.grip.instruct import Instruct
from gripproxy.grip.item import HttpResponse, HttpStream, Item, WsMessage
from gripproxy.sessions import BY_ITSELF, MESSAGE, STREAM, Sessions

LIMITS = Limits(sessions=3, session_last_ids=2, session_rules=2, session_age=100.0)
RULE, OTHER, THIRD = DetectRule("/", "/sid"), DetectRule("/a", "/other"), DetectRule("/a/b", "/third", "form")


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(LIMITS, ("r", "q"))


def put(sessions: Sessions, sid: str, *last: tuple[str, str], now: float = 0.0, realm: str = "r") -> None:
    """Have a response say where a session is."""
    sessions.obey(realm, "", "h", Instruct(hold=None, session_id=sid, last_ids=last), now)


def publish(sessions: Sessions, item_id: str | None, *formats: str, channel: str = "c", action: str = "send") -> None:
    """Have an item go out, with these formats or all."""
    names = formats or (STREAM, MESSAGE)
    item = Item(
        channel,
        item_id,
        response=HttpResponse("send", body=b"x"),
        stream=HttpStream(action, b"x") if STREAM in names else None,
        message=WsMessage(action, "text", b"x") if MESSAGE in names else None,
    )
    sessions.note(("r", channel), item)


def known(sessions: Sessions, sid: str = "s", now: float = 0.0, realm: str = "r") -> dict[str, str]:
    return sessions.last_ids(realm, sid, now)


# --- what responses say


def test_a_response_tells_where_a_session_is(sessions: Sessions) -> None:
    put(sessions, "s", ("a", "1"), ("b", "1"))
    put(sessions, "s", ("a", "2"))
    put(sessions, "t", ("a", "9"))
    assert ({"a": "2", "b": "1"}, {"a": "9"}) == (known(sessions), known(sessions, "t"))
    assert {} == known(sessions, "unknown")


def test_a_session_of_which_nothing_is_known_takes_no_room(sessions: Sessions) -> None:
    put(sessions, "s")
    assert 0 == len(sessions)


def test_last_ids_without_a_session_are_nobodys(sessions: Sessions) -> None:
    sessions.obey("r", "", "h", Instruct(hold=None, last_ids=(("a", "1"),)), 0.0)
    assert 0 == len(sessions)


def test_realms_are_apart(sessions: Sessions) -> None:
    put(sessions, "s", ("a", "1"))
    put(sessions, "s", ("a", "2"), realm="q")
    sessions.obey("r", "", "h", Instruct(hold=None, detect_rules=(RULE,)), 0.0)
    assert ({"a": "1"}, {"a": "2"}) == (known(sessions), known(sessions, realm="q"))
    assert () == sessions.rules("q", "h", "/")


def test_a_realm_without_routes_that_keep_sessions_keeps_none(sessions: Sessions) -> None:
    put(sessions, "s", ("a", "1"), realm="other")
    sessions.obey("other", "", "h", Instruct(hold=None, detect_rules=(RULE,)), 0.0)
    sessions.join("hold", "other", "s", STREAM, ("c",), 0.0)
    assert (0, {}, {}, ()) == (len(sessions), sessions.members, sessions.trails, sessions.rules("other", "h", "/"))


# --- what requests are told


def test_rules_are_those_of_host_and_path(sessions: Sessions) -> None:
    sessions.obey("r", "", "h", Instruct(hold=None, detect_rules=(OTHER, RULE, OTHER)), 0.0)
    assert (OTHER, RULE) == sessions.rules("r", "h", "/a/b?c")
    assert (OTHER, RULE) == sessions.rules("r", "h", "/ab")
    assert (RULE,) == sessions.rules("r", "h", "/?/a")
    assert () == sessions.rules("r", "i", "/a")


def test_the_backend_is_told_of_the_session_in_a_body(sessions: Sessions) -> None:
    put(sessions, "s", ("a", "1"), ("b", "2"))
    assert session_fields("s", {"a": "1", "b": "2"}) == sessions.fields("r", "", (RULE,), b'{"sid": "s"}', 0.0)
    assert session_fields("new", {}) == sessions.fields("r", "", (RULE,), b'{"sid": "new"}', 0.0)
    assert () == sessions.fields("r", "", (RULE,), b'{"side": "s"}', 0.0)


def test_channels_have_no_prefix_for_the_backend_and_those_of_other_routes_are_not_named(sessions: Sessions) -> None:
    sessions.obey("r", "p-", "h", Instruct(hold=None, session_id="s", last_ids=(("a", "1"),)), 0.0)
    put(sessions, "s", ("b", "2"))
    assert {"p-a": "1", "b": "2"} == known(sessions)
    assert session_fields("s", {"a": "1"}) == sessions.fields("r", "p-", (RULE,), b'{"sid": "s"}', 0.0)


# --- what is published


@pytest.mark.parametrize(
    ("kind", "formats", "action", "expected"),
    [
        (STREAM, (STREAM,), "send", {"c": "1"}),
        (STREAM, (MESSAGE,), "send", {}),
        (STREAM, (STREAM, MESSAGE), "send", {"c": "1"}),
        (MESSAGE, (MESSAGE,), "send", {"c": "1"}),
        (MESSAGE, (STREAM,), "send", {}),
        (STREAM, (STREAM,), "hint", {}),
        (STREAM, (STREAM,), "close", {}),
        (MESSAGE, (MESSAGE,), "refresh", {}),
        (BY_ITSELF, (STREAM, MESSAGE), "send", {}),
    ],
)
def test_an_item_moves_the_session_of_a_hold_that_gets_it(
    sessions: Sessions, kind: str, formats: tuple[str, ...], action: str, expected: dict[str, str]
) -> None:
    sessions.join("hold", "r", "s", kind, ("c",), 0.0)
    publish(sessions, "1", *formats, action=action)
    publish(sessions, "2", channel="d")
    assert expected == known(sessions)


def test_an_item_without_an_id_moves_nothing(sessions: Sessions) -> None:
    sessions.join("hold", "r", "s", STREAM, ("c",), 0.0)
    publish(sessions, "1")
    publish(sessions, None)
    assert {"c": "1"} == known(sessions)


def test_an_item_from_before_the_hold_moves_nothing(sessions: Sessions) -> None:
    """Another session follows the channel, so that the item is known of."""
    sessions.join("other", "r", "t", STREAM, ("c",), 0.0)
    publish(sessions, "1")
    sessions.join("hold", "r", "s", STREAM, ("c",), 0.0)
    assert ({}, {"c": "1"}) == (known(sessions), known(sessions, "t"))


def test_an_item_from_after_the_hold_moves_nothing(sessions: Sessions) -> None:
    sessions.join("other", "r", "t", STREAM, ("c",), 0.0)
    sessions.join("hold", "r", "s", STREAM, ("c",), 0.0)
    publish(sessions, "1")
    sessions.leave("hold", 0.0)
    publish(sessions, "2")
    assert ({"c": "1"}, {"c": "2"}) == (known(sessions), known(sessions, "t"))


def test_the_latest_of_all_connections_counts(sessions: Sessions) -> None:
    sessions.join("stream", "r", "s", STREAM, ("c",), 0.0)
    sessions.join("socket", "r", "s", MESSAGE, ("c",), 0.0)
    publish(sessions, "1", MESSAGE)
    publish(sessions, "2", STREAM)
    assert {"c": "2"} == known(sessions)
    publish(sessions, "3", MESSAGE)
    sessions.leave("stream", 0.0)
    sessions.leave("socket", 0.0)
    assert {"c": "3"} == known(sessions)


def test_what_a_response_says_counts_until_the_next_item(sessions: Sessions) -> None:
    sessions.join("hold", "r", "s", STREAM, ("c",), 0.0)
    publish(sessions, "1")
    put(sessions, "s", ("c", "0"))
    assert {"c": "0"} == known(sessions)
    sessions.leave("hold", 0.0)
    assert {"c": "0"} == known(sessions)
    sessions.join("hold", "r", "s", STREAM, ("c",), 0.0)
    publish(sessions, "2")
    assert {"c": "2"} == known(sessions)


def test_a_hold_may_tell_by_itself(sessions: Sessions) -> None:
    sessions.join("hold", "r", "s", BY_ITSELF, ("c",), 0.0)
    sessions.reach("hold", "c", "1", 0.0)
    sessions.reach("hold", "c", None, 0.0)
    sessions.reach("stranger", "c", "2", 0.0)
    assert ({"c": "1"}, {}) == (known(sessions), sessions.trails)


def test_channels_of_a_hold_change(sessions: Sessions) -> None:
    sessions.join("hold", "r", "s", MESSAGE, ("c",), 0.0)
    publish(sessions, "1")
    sessions.change("hold", ("d",), 0.0)
    publish(sessions, "2")
    publish(sessions, "3", channel="d")
    sessions.change("stranger", ("c",), 0.0)
    assert ({"c": "1", "d": "3"}, {("r", "d")}) == (known(sessions), sessions.trails.keys())


def test_a_hold_changes_its_session(sessions: Sessions) -> None:
    sessions.join("hold", "r", "s", MESSAGE, ("c",), 0.0)
    publish(sessions, "1")
    sessions.join("hold", "r", "t", MESSAGE, ("c",), 0.0)
    publish(sessions, "2")
    sessions.join("hold", "r", None, MESSAGE, ("c",), 0.0)
    publish(sessions, "3")
    assert ({"c": "1"}, {"c": "2"}) == (known(sessions), known(sessions, "t"))
    assert ({}, {}) == (sessions.members, sessions.trails)


def test_nothing_is_left_of_a_hold_that_is_over(sessions: Sessions) -> None:
    sessions.join("hold", "r", "s", STREAM, ("c", "d"), 0.0)
    sessions.leave("hold", 0.0)
    sessions.leave("hold", 0.0)
    assert (0, {}, {}) == (len(sessions), sessions.members, sessions.trails)


# --- the ends of the tables


def test_the_session_used_longest_ago_makes_room(sessions: Sessions, caplog: pytest.LogCaptureFixture) -> None:
    for sid in "abc":
        put(sessions, sid, ("c", "1"))
    known(sessions, "a")
    put(sessions, "d", ("c", "1"))
    put(sessions, "e", ("c", "1"), now=1.0)
    assert [True, False, False, True, True] == [bool(known(sessions, sid)) for sid in "abcde"]
    assert 2 == sessions.drops["session"]
    assert ["there are more sessions than limits.sessions (counted by session_drops_total)"] == caplog.messages
    put(sessions, "f", ("c", "1"), now=60.0)
    assert 2 == len(caplog.messages)


def test_sessions_with_a_hold_make_no_room(sessions: Sessions) -> None:
    for sid in "abc":
        sessions.join(f"hold {sid}", "r", sid, STREAM, ("c",), 0.0)
    sessions.join("hold d", "r", "d", STREAM, ("c",), 0.0)
    put(sessions, "d", ("c", "1"))
    publish(sessions, "1")
    assert [True, True, True, False] == [bool(known(sessions, sid)) for sid in "abcd"]
    assert (2, {"hold a", "hold b", "hold c"}) == (sessions.drops["session"], sessions.members.keys())
    sessions.leave("hold a", 0.0)
    sessions.join("hold d", "r", "d", STREAM, ("c",), 0.0)
    assert ({}, {"hold b", "hold c", "hold d"}) == (known(sessions, "a"), sessions.members.keys())


def test_a_session_that_is_not_used_is_forgotten(sessions: Sessions) -> None:
    put(sessions, "a", ("c", "1"), now=0.0)
    put(sessions, "b", ("c", "1"), now=0.0)
    sessions.join("hold", "r", "h", STREAM, ("c",), 0.0)
    publish(sessions, "1")
    assert {"c": "1"} == known(sessions, "a", 99.9)
    assert ({}, {"c": "1"}, {"c": "1"}) == (
        known(sessions, "b", 100.0),
        known(sessions, "a", 100.0),
        known(sessions, "h", 1000.0),
    )
    sessions.leave("hold", 1000.0)
    assert (1, 0, 3) == (sessions.count(1099.9), sessions.count(1100.0), sessions.drops["age"])


def test_the_last_id_that_is_oldest_makes_room(sessions: Sessions, caplog: pytest.LogCaptureFixture) -> None:
    put(sessions, "s", ("a", "1"), ("b", "1"))
    put(sessions, "s", ("a", "2"), ("c", "1"))
    assert {"a": "2", "c": "1"} == known(sessions)
    sessions.join("hold", "r", "s", STREAM, ("d", "e", "f"), 0.0)
    for channel in "def":
        publish(sessions, "1", channel=channel)
    for _ in range(2):
        assert {"e": "1", "f": "1"} == known(sessions)
    assert (4, 1) == (sessions.drops["last-id"], len(caplog.messages))


def test_the_rule_used_longest_ago_makes_room(sessions: Sessions, caplog: pytest.LogCaptureFixture) -> None:
    sessions.obey("r", "", "h", Instruct(hold=None, detect_rules=(RULE,)), 0.0)
    sessions.obey("r", "", "i", Instruct(hold=None, detect_rules=(OTHER,)), 0.0)
    assert (RULE,) == sessions.rules("r", "h", "/")
    sessions.obey("r", "", "h", Instruct(hold=None, detect_rules=(THIRD,)), 0.0)
    assert ((RULE, THIRD), ()) == (sessions.rules("r", "h", "/a/b"), sessions.rules("r", "i", "/a"))
    assert (1, ["realm r"]) == (sessions.drops["rule"], [text[:7] for text in caplog.messages])
    sessions.obey("q", "", "i", Instruct(hold=None, detect_rules=(OTHER,)), 0.0)
    assert 1 == sessions.drops["rule"]


def test_a_host_that_is_none_has_no_rules(sessions: Sessions) -> None:
    sessions.obey("r", "", "h" * 256, Instruct(hold=None, detect_rules=(RULE,)), 0.0)
    assert ((), 1) == (sessions.rules("r", "h" * 256, "/"), sessions.drops["rule"])


# --- at random


class Model(RuleBasedStateMachine):
    """Holds come, go and change, items are published: against a model that looks at every hold for every item."""

    HOLDS = st.sampled_from("12345")
    SIDS = st.sampled_from("stu")
    CHANNELS = st.sets(st.sampled_from("abc"))

    def __init__(self) -> None:
        super().__init__()
        self.sessions = Sessions(Limits(), ("r",))
        self.holds: dict[str, tuple[str, str, set[str]]] = {}
        self.places: dict[str, dict[str, str]] = {}
        self.number = 0

    def next_id(self) -> str:
        self.number += 1
        return str(self.number)

    @rule(hold=HOLDS, sid=SIDS, kind=st.sampled_from((STREAM, MESSAGE)), channels=CHANNELS)
    def join(self, hold: str, sid: str, kind: str, channels: set[str]) -> None:
        self.sessions.join(hold, "r", sid, kind, channels, 0.0)
        self.holds[hold] = (sid, kind, channels)

    @rule(hold=HOLDS)
    def leave(self, hold: str) -> None:
        self.sessions.leave(hold, 0.0)
        self.holds.pop(hold, None)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), channels=CHANNELS)
    def change(self, data: st.DataObject, channels: set[str]) -> None:
        hold = data.draw(st.sampled_from(sorted(self.holds)))
        self.sessions.change(hold, channels, 0.0)
        self.holds[hold] = (*self.holds[hold][:2], channels)

    @rule(formats=st.sets(st.sampled_from((STREAM, MESSAGE)), min_size=1), channel=st.sampled_from("abc"))
    def publish(self, formats: set[str], channel: str) -> None:
        item_id = self.next_id()
        publish(self.sessions, item_id, *formats, channel=channel)
        for sid, kind, channels in self.holds.values():
            if kind in formats and channel in channels:
                self.places.setdefault(sid, {})[channel] = item_id

    @rule(sid=SIDS, channel=st.sampled_from("abc"))
    def put(self, sid: str, channel: str) -> None:
        item_id = self.next_id()
        put(self.sessions, sid, (channel, item_id))
        self.places.setdefault(sid, {})[channel] = item_id

    @rule(sid=SIDS)
    def ask(self, sid: str) -> None:
        assert self.places.get(sid, {}) == known(self.sessions, sid)

    @invariant()
    def follows_what_is_held(self) -> None:
        assert {("r", channel) for *_, channels in self.holds.values() for channel in channels} == set(
            self.sessions.trails
        )
        assert {*self.places, *(sid for sid, *_ in self.holds.values())} >= {
            sid for _, sid in (*self.sessions._held, *self.sessions._resting)
        }

    def teardown(self) -> None:
        for sid, places in self.places.items():
            assert places == known(self.sessions, sid)


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestSessionsAtRandom = Model.TestCase


def test_other_limits_count_at_once(sessions: Sessions) -> None:
    """Fewer sessions, and one last id of each with its next change; another realm keeps sessions."""
    for number, sid in enumerate("stu"):
        put(sessions, sid, ("a", "1"), ("b", "1"), now=float(number))
    sessions.configure(Limits(sessions=2, session_last_ids=1), ("r", "new"))
    assert (2, 1) == (len(sessions), sessions.drops["session"])
    put(sessions, "u", ("c", "1"), now=3.0)
    assert ({"c": "1"}, {}) == (known(sessions, "u", now=3.0), known(sessions, "s", now=3.0))
    put(sessions, "s", ("a", "1"), now=3.0, realm="q")
    put(sessions, "s", ("a", "1"), now=3.0, realm="new")
    assert ({}, {"a": "1"}) == (known(sessions, realm="q", now=3.0), known(sessions, realm="new", now=3.0))
