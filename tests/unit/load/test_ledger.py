"""The ledger tells a loss from a double from a message out of order."""

import pytest

from gripproxy.load.ledger import ANYWHERE, MOST_MISSING, Ledger, outstanding


def account(*arrivals: int, published: int, doubtful: tuple[int, ...] = (), is_poll: bool = False) -> dict[str, int]:
    """The faults that the ledger finds when the messages of source 7 arrive in this order."""
    ledger, expected = Ledger(), {7: 0}
    for sequence in arrivals:
        if expected[7] == sequence:  # what the client does itself
            expected[7] = sequence + 1
        else:
            ledger.mend(1, expected, 7, sequence, sequence + 1)
    ledger.close(1, expected, {7: published}, {(7, sequence) for sequence in doubtful}, is_poll)
    return {name: count for name, count in ledger.counts().items() if count}


@pytest.mark.parametrize(
    ("arrivals", "faults"),
    [
        ((0, 1, 2, 3), {}),
        ((), {"lost": 4}),
        ((0, 1, 2), {"lost": 1}),
        ((1, 2, 3), {"lost": 1}),
        ((0, 3), {"lost": 2}),
        ((0, 1, 1, 2, 3), {"doubled": 1}),
        ((0, 1, 2, 3, 0, 1, 2, 3), {"doubled": 4}),
        ((0, 2, 1, 3), {"out_of_order": 1}),
        ((3, 2, 1, 0), {"out_of_order": 3}),
        ((0, 2, 1, 1, 3), {"out_of_order": 1, "doubled": 1}),
        ((0, 2, 2), {"lost": 2, "doubled": 1}),
    ],
)
def test_arrivals_of_four_messages_leave_these_faults(arrivals: tuple[int, ...], faults: dict[str, int]) -> None:
    assert faults == account(*arrivals, published=4)


def test_a_doubtful_message_is_not_missed() -> None:
    assert {} == account(0, 2, published=4, doubtful=(1, 3))


def test_what_a_poll_missed_was_skipped() -> None:
    assert {"skipped": 2} == account(0, 3, published=4, is_poll=True)


def test_a_message_of_another_channel_is_stray() -> None:
    ledger = Ledger()

    ledger.mend(1, {7: 0}, 8, 0, 3)

    assert 3 == ledger.stray


def test_a_connection_that_came_in_the_middle_starts_where_it_can() -> None:
    ledger, expected = Ledger(), {7: ANYWHERE}

    ledger.mend(1, expected, 7, 40, 42)
    ledger.close(1, {7: ANYWHERE}, {7: 100}, ())

    assert {7: 42} == expected
    assert ledger.is_clean


def test_a_run_may_overlap_what_came_before() -> None:
    ledger, expected = Ledger(), {7: 5}

    ledger.mend(1, expected, 7, 3, 8)

    assert ({7: 8}, 2) == (expected, ledger.doubled)


def test_only_so_many_missing_messages_are_remembered() -> None:
    ledger, expected = Ledger(), {7: 0}

    ledger.mend(1, expected, 7, MOST_MISSING + 50, MOST_MISSING + 51)
    assert MOST_MISSING == len(ledger.missing[1])
    ledger.close(1, expected, {7: MOST_MISSING + 51}, ())

    assert MOST_MISSING + 50 == ledger.lost


def test_ledgers_of_processes_add_up() -> None:
    ledger = Ledger(lost=1, doubled=2)

    ledger.add(Ledger(lost=10, damaged=3))

    assert {"lost": 11, "doubled": 2, "damaged": 3} == {name: n for name, n in ledger.counts().items() if n}


def test_skipped_messages_alone_are_clean() -> None:
    assert Ledger(skipped=3).is_clean
    assert not Ledger(stray=1).is_clean


def test_outstanding_counts_what_has_not_come() -> None:
    assert 3 == outstanding({1: 2, 2: 9, 3: ANYWHERE}, {1: 5, 2: 9, 3: 100})
