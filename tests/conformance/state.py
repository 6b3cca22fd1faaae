"""The service that Pushpin keeps sessions in, and that nobody ships: `python state.py SPEC` connects it to Pushpin.

Questions and answers are typed netstrings, as in the sketch that Pushpin has among its tools.
"""

import sys
from collections.abc import Callable
from typing import Any

import tnetstring
import zmq

Arguments = dict[bytes, Any]


class UnknownError(Exception):
    """There is no such session."""


class State:
    """Rules and sessions, without any limit."""

    def __init__(self) -> None:
        self.rules: list[dict[bytes, bytes]] = []
        self.sessions: dict[bytes, dict[bytes, bytes]] = {}

    def set_rules(self, arguments: Arguments) -> None:
        self.rules += [rule for rule in arguments[b"rules"] if rule not in self.rules]

    def get_rules(self, arguments: Arguments) -> list[dict[bytes, bytes]]:
        domain, path = arguments[b"domain"], arguments[b"path"]
        return [one for one in self.rules if one[b"domain"] == domain and path.startswith(one[b"path-prefix"])]

    def create_or_update(self, arguments: Arguments) -> None:
        self.sessions.setdefault(arguments[b"sid"], {}).update(arguments[b"last-ids"])

    def update_many(self, arguments: Arguments) -> None:
        for sid, last_ids in arguments[b"sid-last-ids"].items():
            self.last_ids({b"sid": sid}).update(last_ids)

    def last_ids(self, arguments: Arguments) -> dict[bytes, bytes]:
        try:
            return self.sessions[arguments[b"sid"]]
        except KeyError:
            raise UnknownError from None


METHODS: dict[bytes, Callable[[State, Arguments], Any]] = {
    b"session-detect-rules-set": State.set_rules,
    b"session-detect-rules-get": State.get_rules,
    b"session-create-or-update": State.create_or_update,
    b"session-update-many": State.update_many,
    b"session-get-last-ids": State.last_ids,
}


def main() -> None:
    socket = zmq.Context().socket(zmq.REP)
    socket.connect(sys.argv[1])
    state = State()
    while True:
        question = tnetstring.loads(socket.recv())
        try:
            value = METHODS[question[b"method"]](state, question.get(b"args", {}))
            answer = {b"success": True, b"value": value}
        except UnknownError:
            answer = {b"success": False, b"condition": b"item-not-found"}
        socket.send(tnetstring.dumps({b"id": question[b"id"], **answer}))


if __name__ == "__main__":
    main()
