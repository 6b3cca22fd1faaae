"""The holds: what keeps a client's connection, and what a hold ends with.

A hold never fetches anything. It ends with a value, and the one loop in `proxy.py` acts on it:

    Done        nothing more to do: the response is complete, or the client left
    Replay      ask the backend the client's own request again, with what the client's state is at
    Follow      ask for a link (`Grip-Link`), and append what comes to the stream
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gripproxy.grip.instruct import Link


@dataclass(frozen=True, slots=True)
class Done:
    """The hold is over. ``reason`` is one of the words that the metric of ended holds is counted by."""

    reason: str


@dataclass(frozen=True, slots=True)
class Replay:
    """The client's request has to be asked again; ``last_ids`` become its Grip-Last fields.

    ``asked`` are the channels and ids for which that is then done: an answer that is the same is taken as it is.
    """

    last_ids: Mapping[str, str]
    asked: frozenset[tuple[str, str | None]]


@dataclass(frozen=True, slots=True)
class Follow:
    """A link has to be fetched, and what comes appended to the stream."""

    link: Link
    last_ids: Mapping[str, str]


Outcome = Done | Replay | Follow
