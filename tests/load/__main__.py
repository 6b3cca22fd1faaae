"""Run the benchmark set: `python -m tests.load [--only NAME ...] [--json FILE]`.

The proxy is the command in GRIP_PROXY_COMMAND, by default this project's. Numbers mean something only beside others
of the same machine and hour; the exit status is 1 when anything was lost, doubled, reordered or refused.
"""

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.load.scenarios import SCENARIOS, Outcome, run_scenario

COLUMNS = ("", "held/s", "deliveries/s", "p50 ms", "p99 ms", "max ms", "proxy µs", "KiB each", "load %", "faults")
WIDTH = 170


def line(outcome: Outcome) -> list[str]:
    """The row of one scenario."""
    report, latency = outcome.report, outcome.report["latency_ms"]
    faults = ", ".join(f"{name} {count}" for name, count in outcome.faults.items()) or "none"
    notes = [faults]
    if outcome.pulse:
        usual = sorted(outcome.pulse)[len(outcome.pulse) // 2]
        notes.append(f"pulse {1000 * usual:.1f} ms, at worst {1000 * max(outcome.pulse):.1f} ms")
    if report["settings"]["never_read"]:
        notes.append(f"{report['cut']} slow clients cut")
    return [
        outcome.scenario.name,
        f"{report['connects_per_second']:,.0f}",
        f"{report['deliveries_per_second']:,.0f}",
        *(f"{latency.get(name, 0):,.2f}" for name in ("p50", "p99", "max")),
        f"{report['proxy_us_per_delivery']:,.2f}",
        f"{report['proxy_kib_per_connection']:,.1f}",
        f"{100 * report['load_busy']:.0f}",
        "; ".join(notes),
    ]


@click.command()
@click.option("--only", multiple=True, type=click.Choice([one.name for one in SCENARIOS]), help="Only this scenario.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path), help="Write all reports.")
def main(only: tuple[str, ...], json_path: Path | None) -> None:
    """Load-test a fresh proxy in every scenario and print a table."""
    console = Console(stderr=True)
    outcomes = []
    for scenario in SCENARIOS:
        if not only or scenario.name in only:
            console.print(f"{scenario.name}: {scenario.what}", highlight=False)
            outcomes.append(run_scenario(scenario))
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in ("", "faults") else "right")
    for outcome in outcomes:
        table.add_row(*line(outcome))
    Console(width=WIDTH).print(table)
    if json_path is not None:
        found = {one.scenario.name: {**one.report, "pulse": one.pulse} for one in outcomes}
        json_path.write_text(json.dumps(found, indent=1))
    sys.exit(1 if any(one.faults for one in outcomes) else 0)


if __name__ == "__main__":
    main()
