"""What the processes say is summed up."""

from gripproxy.load.fleet import Fleet, Progress
from gripproxy.load.plan import Control, Plan, endpoints
from gripproxy.load.publisher import Publication
from gripproxy.load.worker import Tally


def build(processes: int) -> Fleet:
    plan = Plan("stream", endpoints("stream", ("http://h/",)), Control.from_grip_url("http://h"), processes=processes)
    return Fleet(plan, lambda progress: None)


def test_progress_is_the_sum_over_the_workers() -> None:
    fleet = build(2)

    for number, value in ((0, (5, 50, 1, 0)), (1, (7, 70, 0, 2)), (0, (6, 60, 1, 0)), (2, (30, 4))):
        fleet._take(number, "progress", value)

    assert Progress("connecting", 13, 30, 130, 1, 2, 4) == fleet.progress


def test_a_process_that_has_said_everything_may_go() -> None:
    fleet = build(2)

    fleet._take(1, "tally", Tally(held=3))
    fleet._take(2, "published", Publication(accepted=9))

    assert ({1, 2}, 9, 1) == (fleet.done, fleet.progress.published, len(fleet.tallies))
