"""What a load test shows while it runs: bars on a terminal, else a line every few seconds. Always on stderr."""

import math
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from gripproxy.load.fleet import Progress as State
from gripproxy.load.plan import Plan

#: Seconds between two plain lines.
LINE_EVERY = 2.0
#: Deliveries per second are averaged over this time (seconds).
RATE_OVER = 0.5


class Display:
    """A context; ``show`` may be called as often as one likes."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._last_line = self._last_count = 0.0
        self._last_rate, self._count, self._rate = 0.0, 0, 0.0
        self._phase = ""
        self._bars = Progress(
            TextColumn("{task.description:>12}"),
            BarColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._connections = self._bars.add_task("connections", total=plan.connections, text="")
        limit = None if math.isinf(plan.limit) else plan.limit
        self._published = self._bars.add_task("messages", total=limit, text="")

    def __enter__(self) -> "Display":
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def show(self, state: State) -> None:
        """Show ``state``, if it is time to."""
        now = time.monotonic()
        if now - self._last_rate >= RATE_OVER:
            self._rate = (state.deliveries - self._count) / (now - self._last_rate) if self._last_rate else 0.0
            self._last_rate, self._count = now, state.deliveries
        if self._console.is_terminal:
            self._bars.update(self._connections, completed=state.connections, text=connections_text(state))
            self._bars.update(self._published, completed=state.published, text=deliveries_text(state, self._rate))
        elif now - self._last_line >= LINE_EVERY or state.phase != self._phase:
            self._last_line, self._phase = now, state.phase
            line = f"{state.phase}: {connections_text(state)}; {deliveries_text(state, self._rate)}"
            self._console.print(line, highlight=False, soft_wrap=True)


def connections_text(state: State) -> str:
    """How many connections there are, and what went wrong with them."""
    faults = {"refused": state.refused, "lost": state.lost}
    return ", ".join([f"{state.connections:,} held", *(f"{count:,} {name}" for name, count in faults.items() if count)])


def deliveries_text(state: State, rate: float) -> str:
    """How many messages were published and delivered."""
    text = f"{state.published:,} published, {state.deliveries:,} delivered, {rate:,.0f}/s"
    return f"{text}, {state.failures:,} publishes failed" if state.failures else text
