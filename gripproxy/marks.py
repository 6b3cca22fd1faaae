"""Marks in the work of groups: who is to be told when what a group has to do now is done.

The hub counts down the entries of each pass; without marks that is one look into an empty dictionary.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

G = TypeVar("G", bound=Hashable)


class Marks(Generic[G]):
    """``waiting``: group -> entries left until a mark is reached, and who is told then."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: dict[G, list[tuple[int, Callable[[], None]]]] = {}

    def add(self, group: G, left: int, then: Callable[[], None]) -> None:
        """Put a mark behind the next ``left`` entries of a group."""
        self.waiting.setdefault(group, []).append((left, then))

    def count_down(self, group: G, done: int) -> None:
        """Note that a group is done with its next entries; tell those whose mark is reached."""
        marks = [(left - done, then) for left, then in self.waiting.pop(group)]
        ahead = [mark for mark in marks if mark[0] > 0]
        if ahead:
            self.waiting[group] = ahead
        for left, then in marks:
            if left <= 0:
                then()
