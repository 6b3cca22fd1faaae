"""Whether every message reached every connection once and in order.

Messages of a source (one channel, one publisher) are numbered 0, 1, 2 ... A connection's ``expected`` maps each of
its sources to the number that comes next; ``Ledger.mend`` is called only when something else came, so the common
case costs one look-up at the caller.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

#: A connection that came in the middle: whatever arrives first is where it starts.
ANYWHERE = -1
#: Messages remembered one by one as missing for one connection, in case they come late; more are lost at once.
MOST_MISSING = 10_000


@dataclass(slots=True)
class Ledger:
    """What went wrong, counted in messages times connections.

    ``lost`` never came. ``doubled`` came again. ``out_of_order`` came after a later one. ``stray`` came on a
    connection of another channel. ``damaged`` came cut or changed. ``skipped`` were published while a poll was not
    held, which is not a fault.
    """

    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    stray: int = 0
    damaged: int = 0
    skipped: int = 0
    missing: dict[int, set[tuple[int, int]]] = field(default_factory=dict, repr=False)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, doubled, reordered, misdirected or damaged."""
        return not (self.lost or self.doubled or self.out_of_order or self.stray or self.damaged)

    def mend(self, number: int, expected: dict[int, int], source: int, first: int, after: int) -> None:
        """Account for messages ``first`` to ``after - 1`` of ``source`` that connection ``number`` did not expect."""
        position = expected.get(source)
        if position is None:
            self.stray += after - first
            return
        if position == ANYWHERE:
            expected[source] = after
            return
        if first > position:
            self._note_missing(number, source, position, first)
        for sequence in range(first, min(after, position)):
            self._note_again(number, source, sequence)
        expected[source] = max(position, after)

    def _note_missing(self, number: int, source: int, first: int, after: int) -> None:
        missing = self.missing.setdefault(number, set())
        listed = min(after, first + MOST_MISSING - len(missing))
        missing.update((source, sequence) for sequence in range(first, listed))
        self.lost += after - max(listed, first)

    def _note_again(self, number: int, source: int, sequence: int) -> None:
        missing = self.missing.get(number)
        if missing and (source, sequence) in missing:
            missing.remove((source, sequence))
            self.out_of_order += 1
        else:
            self.doubled += 1

    def close(
        self,
        number: int,
        expected: Mapping[int, int],
        published: Mapping[int, int],
        doubtful: Collection[tuple[int, int]],
        is_poll: bool = False,
    ) -> int:
        """Settle the account of a connection at the end; how many messages it did not get.

        ``published`` is how many messages each source has; a message in ``doubtful`` (source, sequence) may not have
        been published and is not missed. What a poll did not get counts as skipped.
        """
        absent = self.missing.pop(number, set())
        for source, position in expected.items():
            if position != ANYWHERE:
                absent.update((source, sequence) for sequence in range(position, published.get(source, 0)))
        count = sum(1 for one in absent if one not in doubtful)
        if is_poll:
            self.skipped += count
        else:
            self.lost += count
        return count

    def add(self, other: "Ledger") -> None:
        """Take over the counts of another process's ledger."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def counts(self) -> dict[str, int]:
        """The counts by name."""
        return {name: getattr(self, name) for name in COUNTS}


COUNTS = ("lost", "doubled", "out_of_order", "stray", "damaged", "skipped")


def outstanding(expected: Mapping[int, int], published: Mapping[int, int]) -> int:
    """How many messages have not come yet to a connection with ``expected``."""
    return sum(
        max(0, published.get(source, 0) - position) for source, position in expected.items() if position != ANYWHERE
    )
