"""Run Autobahn's cases against the proxy: `python -m tests.autobahn [--door NAME] [--case GLOB ...]`.

All of them take a few minutes. The reports are pages: open `index.html` in the folder that is named at the end.
The exit status is 1 when a verdict is neither good nor known.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

import click

from tests.autobahn.suite import DOORS, run


@click.command()
@click.option("--door", "doors", multiple=True, type=click.Choice(list(DOORS)), help="Only this door.")
@click.option("--case", "cases", multiple=True, metavar="GLOB", help="Only these cases, e.g. 6.*")
@click.option("--parallel", default=4, show_default=True, help="Cases at a time.")
def main(doors: tuple[str, ...], cases: tuple[str, ...], parallel: int) -> None:
    """Print what the cases came to, door by door."""
    folder = Path(tempfile.mkdtemp(prefix="autobahn-"))
    wrong = 0
    for door in doors or DOORS:
        verdicts = run(folder, door, cases, parallel)
        counts = Counter(verdict.behavior for verdict in verdicts)
        print(f"{door}: {len(verdicts)} cases: {', '.join(f'{count} {word}' for word, count in counts.most_common())}")
        for verdict in verdicts:
            if not verdict.is_expected:
                wrong += 1
                print(f"  {verdict.case}: {verdict.behavior}, closing {verdict.closing}")
        for why in sorted({verdict.known for verdict in verdicts if verdict.known}):
            known = [verdict for verdict in verdicts if verdict.known == why]
            print(f"  {len(known)} {known[0].behavior}, {known[0].case} to {known[-1].case}: {why}")
    print(f"reports: {folder}")
    sys.exit(1 if wrong else 0)


main()
