"""What is shown while a test runs."""

import io

from rich.console import Console

from gripproxy.load.display import Display, connections_text, deliveries_text
from gripproxy.load.fleet import Progress
from gripproxy.load.plan import Control, Plan, endpoints

PLAN = Plan("stream", endpoints("stream", ("http://h/",)), Control.from_grip_url("http://h"))


def test_a_file_gets_one_line_for_each_phase() -> None:
    output = io.StringIO()

    with Display(PLAN, Console(file=output)) as display:
        for phase in ("connecting", "connecting", "publishing"):
            display.show(Progress(phase=phase, connections=7))

    assert ["connecting", "publishing"] == [line.partition(":")[0] for line in output.getvalue().splitlines()]


def test_a_terminal_gets_bars() -> None:
    output = io.StringIO()

    with Display(PLAN, Console(file=output, force_terminal=True, width=120)) as display:
        display.show(Progress(phase="publishing", connections=7, published=3))

    assert "7 held" in output.getvalue()


def test_faults_are_shown_when_there_are_any() -> None:
    assert "1,000 held" == connections_text(Progress(connections=1000))
    assert "5 held, 2 refused, 1 lost" == connections_text(Progress(connections=5, refused=2, lost=1))
    assert "1 published, 2 delivered, 3/s" == deliveries_text(Progress(published=1, deliveries=2), 3.0)
    assert deliveries_text(Progress(failures=4), 0.0).endswith("4 publishes failed")
