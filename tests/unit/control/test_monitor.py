"""The subscription monitor: items, and lines that fit each other, without a connection."""

import asyncio
import json
from typing import Any

import pytest

from gripproxy.control.answer import RefusalError
from gripproxy.control.monitor import FOLLOWERS_MAX, PAGE, Monitor, follow
from gripproxy.subscriptions import CHANGES_KEPT, Subscriptions


def make(*channels: str) -> Subscriptions:
    loop = asyncio.new_event_loop()
    loop.close()  # without linger nothing is left to wait for
    return Subscriptions(loop, {("r", channel): 1 for channel in channels}, 0.0, "ab")


def items(subscriptions: Subscriptions, since: str | None = None) -> tuple[list[str], str]:
    answer = json.loads(Monitor(subscriptions).items("r", since))
    signs = {"subscribed": "+", "unsubscribed": "-"}
    return [signs[item["state"]] + item["channel"] for item in answer["items"]], answer["last_cursor"]


def test_all_channels_are_listed_and_then_what_changed() -> None:
    subscriptions = make("a", "b")
    first, cursor = items(subscriptions)
    subscriptions.on_channel("r", "c", True)
    subscriptions.on_channel("r", "a", False)
    second, end = items(subscriptions, f"cursor:{cursor}")

    assert (["+a", "+b"], ["+c", "-a"]) == (first, second)
    assert ([], end) == items(subscriptions, f"cursor:{end}")
    assert ["+b", "+c"] == items(subscriptions)[0]


def test_the_list_has_fanout_clouds_form() -> None:
    subscriptions = make("a")

    assert {"items": [{"channel": "a", "state": "subscribed"}], "last_cursor": "YWJfMA=="} == json.loads(
        Monitor(subscriptions).items("r", None)
    )


def test_many_changes_come_in_pages() -> None:
    subscriptions = make()
    _, cursor = items(subscriptions)
    for number in range(2 * PAGE + 1):
        subscriptions.on_channel("r", str(number), True)
    sizes = []
    while True:
        page, cursor = items(subscriptions, f"cursor:{cursor}")
        sizes.append(len(page))
        if not page:
            break

    assert [PAGE, PAGE, 1, 0] == sizes


@pytest.mark.parametrize(
    ("since", "status"),
    [("", 400), ("x", 400), ("id:YWJfMA==", 400), ("cursor:", 404), ("cursor:eHlfMA==", 404), ("cursor:YWJfMQ==", 404)],
)
def test_a_cursor_that_is_not_known_is_refused(since: str, status: int) -> None:
    with pytest.raises(RefusalError) as caught:
        items(make(), since)

    assert status == caught.value.status


def test_a_cursor_that_is_too_old_is_refused() -> None:
    subscriptions = make()
    _, cursor = items(subscriptions)
    for number in range(CHANGES_KEPT + 1):
        subscriptions.on_channel("r", str(number), True)

    with pytest.raises(RefusalError, match="ask without since"):
        items(subscriptions, f"cursor:{cursor}")


def lines_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def test_lines_lead_from_cursor_to_cursor() -> None:
    subscriptions = make("a")
    watch = subscriptions.watch("r")

    async def main() -> list[dict[str, Any]]:
        stream = follow(watch)
        lines = lines_of(await anext(stream))
        subscriptions.on_channel("r", "b", True)
        subscriptions.on_channel("r", "a", False)
        lines += lines_of(await anext(stream))
        subscriptions.on_channel("r", "c", True)
        lines += lines_of(await anext(stream))
        subscriptions.close()
        async for data in stream:
            lines += lines_of(data)
        return lines

    lines = asyncio.run(main())

    assert [("", "unsubscribed"), ("b", "subscribed"), ("a", "unsubscribed"), ("c", "subscribed")] == [
        (line["item"]["channel"], line["item"]["state"]) for line in lines
    ]
    assert [watch.cursor(0), watch.cursor(0), watch.cursor(1), watch.cursor(2)] == [
        line["prev_cursor"] for line in lines
    ]
    assert [watch.cursor(0), watch.cursor(1), watch.cursor(2), watch.cursor(3)] == [line["cursor"] for line in lines]


def test_a_silent_stream_says_where_it_stands() -> None:
    subscriptions = make()
    watch = subscriptions.watch("r")
    subscriptions.on_channel("r", "a", True)

    async def main() -> list[dict[str, Any]]:
        stream = follow(watch, 0.0)
        return lines_of(await anext(stream)) + lines_of(await anext(stream))

    assert [(watch.cursor(1), watch.cursor(1))] * 2 == [
        (line["prev_cursor"], line["cursor"]) for line in asyncio.run(main())
    ]


def test_a_client_that_falls_behind_the_changes_is_let_go() -> None:
    subscriptions = make()
    watch = subscriptions.watch("r")

    async def main() -> int:
        stream = follow(watch)
        await anext(stream)
        for number in range(CHANGES_KEPT + 1):
            subscriptions.on_channel("r", str(number), True)
        return len([data async for data in stream])

    assert 0 == asyncio.run(main())


class Connection:
    """The transport of a follower."""

    def __init__(self, is_gone: bool = False) -> None:
        self.is_gone = is_gone

    def is_closing(self) -> bool:
        return self.is_gone


class Latecomer:
    """The request of one more follower, whose own connection is closed already."""

    transport = None


def refusal_beside(connections: list[Connection]) -> RefusalError:
    subscriptions = make()
    subscriptions.watch("r").followers[:] = connections  # type: ignore[assignment]
    with pytest.raises(RefusalError) as caught:
        asyncio.run(Monitor(subscriptions).stream("r", Latecomer()))  # type: ignore[arg-type]
    assert len(connections) == len(subscriptions.watch("r").followers)
    return caught.value


def test_only_so_many_follow_a_realm() -> None:
    refusal = refusal_beside([Connection() for _ in range(FOLLOWERS_MAX)])

    assert (503, f"There are {FOLLOWERS_MAX} streams for this realm already.") == (refusal.status, str(refusal))


def test_who_has_left_is_not_one_of_them() -> None:
    """A backend that connects again and again may come back faster than its old streams end."""
    refusal = refusal_beside([Connection(is_gone=n == 0) for n in range(FOLLOWERS_MAX)])

    assert (400, "The client has left.") == (refusal.status, str(refusal))


def test_many_changes_are_written_in_parts() -> None:
    subscriptions = make()
    watch = subscriptions.watch("r")

    async def main() -> list[int]:
        stream = follow(watch)
        await anext(stream)
        for number in range(PAGE + 1):
            subscriptions.on_channel("r", str(number), True)
        return [len(lines_of(await anext(stream))) for _ in range(2)]

    assert [PAGE, 1] == asyncio.run(main())
