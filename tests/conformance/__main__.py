"""`python -m tests.conformance`: what gripproxy and Pushpin make of every case, as tables in Markdown.

    python -m tests.conformance                          runs all cases against both, and prints the tables
    python -m tests.conformance --proxy pushpin          runs them against one
    python -m tests.conformance --quick                  runs those that do not wait long
    python -m tests.conformance --write docs/protocol.md runs nothing, and brings a document's tables up to date

The exit status is 1 if a case did otherwise than it should, or if a proxy is missing.
"""

import argparse
import pathlib
import sys
from dataclasses import dataclass, field

import pytest

from tests.conformance.proxies import PROXIES, missing
from tests.conformance.tables import difference_table, table, written

HERE = pathlib.Path(__file__).parent


@dataclass
class Recorder:
    """A pytest plugin that keeps every case's outcome."""

    outcomes: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file, _, name = report.nodeid.partition("::")
        case = f"{pathlib.Path(file).stem.removeprefix('test_')}::{name}"
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[case] = "expected failure" if hasattr(report, "wasxfail") else report.outcome
        if report.failed:
            lines = str(report.longrepr).splitlines()
            self.faults[case] = next((line[2:].strip() for line in lines if line.startswith("E ")), lines[-1])


def faults_table(recorders: dict[str, Recorder]) -> str:
    """Cases that did otherwise than they should, with what was seen."""
    cases = sorted({case for recorder in recorders.values() for case in recorder.faults})
    rows = [
        [f"`{case}`", *(recorder.faults.get(case, "as expected") for recorder in recorders.values())] for case in cases
    ]
    return table(["Case", *recorders], rows)


def counts_table(recorders: dict[str, Recorder]) -> str:
    """How many cases had which outcome."""
    kinds = ["passed", "expected failure", "skipped", "failed"]
    counts = {name: [*recorder.outcomes.values()] for name, recorder in recorders.items()}
    return table(["Outcome", *recorders], [[kind, *(str(c.count(kind)) for c in counts.values())] for kind in kinds])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.partition("\n")[0])
    parser.add_argument("--proxy", choices=sorted(PROXIES), action="append", help="run against this one")
    parser.add_argument("--quick", action="store_true", help="leave out the cases that wait longer than 10 seconds")
    parser.add_argument("--write", type=pathlib.Path, metavar="FILE", help="bring a document's tables up to date")
    parser.add_argument("rest", nargs="*", help="arguments for pytest, behind --")
    options = parser.parse_args()
    if options.write:
        options.write.write_text(written(options.write.read_text() if options.write.exists() else ""))
        return 0
    recorders: dict[str, Recorder] = {}
    chosen = options.proxy or list(PROXIES)
    lengths = [] if options.quick else ["--slow"]
    for name in chosen:
        if lacking := missing(name):
            print(f"{name} is left out: {', '.join(lacking)} not installed", file=sys.stderr)
            continue
        recorders[name] = Recorder()
        arguments = [
            str(HERE),
            "--proxy",
            name,
            "-q",
            "--tb=line",
            "-rN",
            "-p",
            "no:cacheprovider",
            *lengths,
            *options.rest,
        ]
        pytest.main(arguments, plugins=[recorders[name]])
    print(f"\n## Outcomes\n\n{counts_table(recorders)}\n\n{difference_table()}")
    if any(recorder.faults for recorder in recorders.values()):
        print(f"\n## Cases that did otherwise than they should\n\n{faults_table(recorders)}")
    return int(len(recorders) < len(chosen) or any(recorder.faults for recorder in recorders.values()))


if __name__ == "__main__":
    sys.exit(main())
