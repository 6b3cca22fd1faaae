"""Reliable delivery with real processes: races, gaps, slow and failing links, and how often the backend is asked."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.backend import RESET, Reply
from tests.conformance.case import Case
from tests.conformance.client import Connection
from tests.integration.feed import Feeds, is_whole, items_of
from tests.integration.scripted import SETTLING, Ask, scripted

# More than this many requests for one gap that all streams share would be a herd.
FEW = 8


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with scripted(tmp_path_factory.mktemp("reliable"), {SETTLING: {}}) as ask:
        yield ask


@pytest.fixture
def case(ask: Ask) -> Case:
    return ask(Reply())


def read_until(connection: Connection, newest: dict[str, int]) -> dict[str, list[int]]:
    """Read a stream until it has shown the newest item of each feed."""
    data = b""
    while any(f"{name}.{number};".encode() not in data for name, number in newest.items() if number):
        chunk = connection.read_chunk()
        assert chunk, data
        data += chunk
    return items_of(data)


# --- races


@pytest.mark.parametrize("has_link", [True, False])
def test_nothing_is_lost_or_repeated_whenever_a_stream_begins(case: Case, has_link: bool) -> None:
    """Publishes at many moments around the answers of the backend and the subscriptions."""
    feeds = Feeds(case, "a", "b", has_link=has_link)
    feeds.add("a")
    feeds.add("b")
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            feeds.add(random.choice("ab"))
            time.sleep(random.random() * 0.004)

    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(publish)
        streams = []
        for _ in range(60):
            streams.append(case.stream())
            time.sleep(random.random() * 0.01)
        stop.set()
        publishing.result()
    for stream in streams:
        shown = read_until(stream, feeds.numbers)
        assert all(is_whole(shown[name], feeds.numbers[name]) for name in "ab"), shown


def test_nothing_is_lost_or_repeated_between_polls(case: Case) -> None:
    """Clients that poll again and again while items come."""
    feeds = Feeds(case, "a", "b")
    total = 150

    def poll() -> dict[str, list[int]]:
        got: dict[str, list[int]] = {"a": [], "b": []}
        connection = case.connect()
        while any(len(numbers) < total for numbers in got.values()):
            query = "&".join(f"{name}={len(numbers)}" for name, numbers in got.items())
            connection.request(f"{case.path}?{query}&wait")
            for name, numbers in items_of(connection.read_response().body).items():
                got[name] += numbers
        return got

    with ThreadPoolExecutor(6) as pool:
        polling = [pool.submit(poll) for _ in range(6)]
        for _ in range(total):
            for name in "ab":
                feeds.add(name)
                time.sleep(random.random() * 0.004)
        for one in polling:
            assert {"a": list(range(1, total + 1)), "b": list(range(1, total + 1))} == one.result()


def test_lost_and_disordered_publishes_do_not_matter(case: Case) -> None:
    """The bus loses a tenth, repeats a tenth and disorders the rest; the streams have it all."""
    feeds = Feeds(case, "a", "b")
    streams = [case.stream() for _ in range(5)]
    held_back: list[tuple[str, int]] = []
    for _ in range(150):
        name = random.choice("ab")
        number = feeds.store(name)
        chance = random.random()
        if chance < 0.1:
            continue
        held_back.append((name, number))
        random.shuffle(held_back)
        while len(held_back) > random.randrange(6):
            feeds.publish(*held_back.pop())
        if chance > 0.9:
            feeds.publish(name, number)
    for name, number in held_back:
        feeds.publish(name, number)
    for name in "ab":
        feeds.add(name)
    for stream in streams:
        shown = read_until(stream, feeds.numbers)
        assert {name: list(range(1, number + 1)) for name, number in feeds.numbers.items()} == shown


def test_what_comes_during_a_large_first_body_follows_it(case: Case) -> None:
    """Larger than what is read before the hold begins."""
    feeds = Feeds(case, "a")
    feeds.add("a")
    gate = case.backend.gate()
    body = [b"x" * 150_000, gate, b"x" * 150_000]
    case.answer(Reply(body, feeds.instructions({"a": 1}, "stream"), framing="chunked"))
    stream = case.ask()
    stream.read_head()
    assert b"x" == stream.read_data(100_000)[:1]
    for _ in range(20):
        feeds.add("a")
    gate.open()
    data = b""
    while b"a.21;" not in data:
        data += stream.read_chunk()
    assert list(range(2, 22)) == items_of(data.lstrip(b"x"))["a"]
    assert 0 == feeds.requests


# --- how often the backend is asked


def test_memory_closes_gaps_without_the_backend(case: Case) -> None:
    """What was published between the answer and the hold is remembered."""
    feeds = Feeds(case, "a")
    gate = case.backend.gate()
    feeds.add("a")
    case.answer(Reply(b"", feeds.instructions({"a": 1}, "stream"), before=[gate]))
    stream = case.ask()
    case.taken()
    for _ in range(30):
        feeds.add("a")
    gate.open()
    stream.read_head()
    assert {"a": list(range(2, 32))} == read_until(stream, {"a": 31})
    assert 0 == feeds.requests


def test_a_gap_of_many_streams_is_one_question(case: Case) -> None:
    feeds = Feeds(case, "a")
    streams = [case.stream() for _ in range(200)]
    feeds.store("a")
    feeds.add("a")
    for stream in streams:
        assert {"a": [1, 2]} == read_until(stream, {"a": 2})
    assert 1 <= feeds.requests <= FEW


def test_recovering_is_one_question(case: Case) -> None:
    feeds = Feeds(case, "a")
    streams = [case.stream() for _ in range(50)]
    feeds.store("a")
    assert 200 == case.post(b"", "/recover/").status
    for stream in streams:
        assert {"a": [1]} == read_until(stream, {"a": 1})
    assert 1 <= feeds.requests <= FEW


def test_many_polls_are_not_asked_again_all_at_once(case: Case) -> None:
    """A hint for 150 long-polls: each is asked again, a few at a time."""
    feeds = Feeds(case, "a")
    polls = [case.ask("?a=0&wait") for _ in range(150)]
    for _ in polls:
        case.taken()
    case.settle()
    feeds.store("a")
    under_way: set[object] = set()
    most = []

    def count(request: object) -> Reply:
        mark = object()  # equal requests are several
        under_way.add(mark)
        most.append(len(under_way))
        threading.Timer(0.02, under_way.discard, (mark,)).start()
        return Reply(b"a.1;", before=[0.02])

    case.answer(count)
    case.publish({"http-response": {"action": "hint"}}, channel=feeds.channel("a"))
    assert all(b"a.1;" == poll.read_response().body for poll in polls)
    assert max(most) < 100


def test_who_has_left_is_not_asked_again_for(case: Case) -> None:
    """Of 200 polls whose turn comes slowly, all but one leave meanwhile: the one does not wait for the others."""
    feeds = Feeds(case, "a")
    leaving = [case.ask("?a=0&wait") for _ in range(200)]
    staying = case.ask("?a=0&wait")
    for _ in (*leaving, staying):
        case.taken()
    case.settle()
    feeds.store("a")
    gate = case.backend.gate()
    asked = []

    def count(request: object) -> Reply:
        asked.append(request)
        return Reply(b"a.1;", before=[gate])

    case.answer(count)
    case.publish({"http-response": {"action": "hint"}}, channel=feeds.channel("a"))
    case.taken()
    for poll in leaving:
        poll.close()
    case.settle()
    gate.open()
    assert b"a.1;" == staying.read_response().body
    assert len(asked) < 100


# --- links that fail, or take their time


@pytest.mark.parametrize(
    "failure", [Reply(b"", status=503), Reply(before=[RESET]), Reply(b"", [("Grip-Hold", "unknown")])]
)
def test_a_link_that_fails_is_asked_again(case: Case, failure: Reply) -> None:
    feeds = Feeds(case, "a", "b")
    stream = case.stream()
    feeds.failures = [failure]
    feeds.store("a")
    feeds.add("a")
    feeds.add("b")
    assert {"b": [1]} == read_until(stream, {"b": 1}), "the other feed goes on"
    assert {"a": [1, 2]} == read_until(stream, {"a": 2})
    assert 2 == feeds.requests


def test_a_slow_link_does_not_delay_other_channels(case: Case) -> None:
    feeds = Feeds(case, "a", "b")
    gate = case.backend.gate()
    feeds.before = [gate]
    stream = case.stream()
    feeds.store("a")
    feeds.add("a")
    case.taken("/next")
    for _ in range(10):
        feeds.add("b")
    assert {"b": list(range(1, 11))} == read_until(stream, {"b": 10})
    feeds.before = []
    gate.open()
    assert {"a": [1, 2]} == read_until(stream, {"a": 2})
    feeds.add("b")
    assert {"b": [11]} == read_until(stream, {"b": 11})


class OwnLinks(Feeds):
    """Feeds each of whose streams has a link of its own, that is polled every second and answers after two."""

    def instructions(self, now: dict[str, int], hold: str) -> list[tuple[str, str]]:
        fields = [one for one in super().instructions(now, hold) if one[0] != "Grip-Link"]
        return [*fields, ("Grip-Link", f"<{self.case.path}/next?{random.random()}>; rel=next; timeout=1")]


def test_polls_of_a_slow_backend_do_not_delay_items(case: Case) -> None:
    """One feed is quiet, so that its streams poll; the answers repeat what came on the other one meanwhile."""
    feeds = OwnLinks(case, "a", "b")
    feeds.before = [2.0]
    streams = [case.stream() for _ in range(40)]
    until = time.monotonic() + 6
    while time.monotonic() < until:
        feeds.add("a")
        time.sleep(0.05)
    for stream in streams:
        assert {"a": list(range(1, feeds.numbers["a"] + 1))} == read_until(stream, feeds.numbers)
    assert time.monotonic() - until < 1.5
    assert feeds.requests > len(streams)


def test_a_stream_that_can_not_be_whole_is_cut(case: Case) -> None:
    """Without a link nothing closes a gap; the end of the connection tells the client to come again."""
    feeds = Feeds(case, "a", has_link=False)
    stream = case.stream()
    feeds.store("a")
    feeds.add("a")
    with pytest.raises(EOFError):
        stream.read_rest()


@pytest.mark.parametrize("leave", [Connection.close, Connection.reset])
def test_a_client_that_leaves_while_its_link_is_asked(case: Case, leave: Callable[[Connection], None]) -> None:
    feeds = Feeds(case, "a")
    gate = case.backend.gate()
    feeds.before = [gate]
    leaving, staying = case.stream(), case.stream()
    feeds.store("a")
    feeds.add("a")
    case.taken("/next")
    leave(leaving)
    gate.open()
    assert {"a": [1, 2]} == read_until(staying, {"a": 2})
