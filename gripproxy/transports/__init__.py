"""The holds: what keeps a client's connection, and what a hold ends with.

A hold never fetches anything. It ends with a value, and the one loop in `proxy.py` acts on it:

    Done        nothing more to do: the response is complete, or the client left
    Replay      ask the backend the client's own request again, with what the client's state is at
    Follow      ask for a link (`Grip-Link`), and append what comes to the stream
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from gripproxy.grip.instruct import Link


@dataclass(frozen=True, slots=True)
class Done:
    """The hold is over. ``reason`` is one of the words that the metric of ended holds is counted by."""

    reason: str


# There are only so many reasons, and a publish may end thousands of long-polls.
done = cache(Done)


@dataclass(frozen=True, slots=True)
class Replay:
    """The client's request has to be asked again; ``last_ids`` become its Grip-Last fields.

    ``asked`` tells how often that was done, this time included, while the client was at an id of a channel.
    """

    last_ids: Mapping[str, str]
    asked: Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class Follow:
    """A link has to be fetched, and what comes appended to the stream.

    ``moment`` is the one before which it must not have been asked for, if its answer is to be shared.
    """

    link: Link
    last_ids: Mapping[str, str]
    moment: int


Outcome = Done | Replay | Follow
