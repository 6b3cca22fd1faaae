"""The differences as Markdown, for people: each case's own sentence, what Pushpin does instead, and why.

Behind them stands what the cases cover, and what none can show. A document holds the tables between two marks;
everything between them is written anew.
"""

import importlib
from collections.abc import Sequence

from tests.conformance.coverage import PARTS, Unseen, unseen
from tests.conformance.differences import DIFFERENCES, GAPS

BEGIN = "<!-- written by `python -m tests.conformance --write docs/protocol.md` -->"
END = "<!-- end of what is written -->"
INTRODUCTION = """## Differences from Pushpin

Both proxies run the same black-box cases (`python -m tests.conformance`). Pushpin is Debian's 1.36.0 with its default
settings and a service that keeps its sessions; some cases need one more of each, which believes what a proxy in front
says of clients. Whatever is not listed here, and is covered by a case, both do alike."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; bars in cells are escaped, lines joined."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def parts(key: str) -> tuple[str, str, str]:
    """A key's sentence, subject and parameters."""
    group, _, name = key.partition("::")
    function = getattr(importlib.import_module(f"tests.conformance.test_{group}"), name.partition("[")[0])
    (subject,) = (mark.args[0] for mark in function.pytestmark if mark.name == "grip")
    sentence = function.__doc__.partition("\n")[0]
    return sentence, subject, name.partition("[")[2].removesuffix("]")


def rows() -> list[list[str]]:
    """The differences, those of one case together."""
    merged: dict[tuple[str, str, str, str], list[str]] = {}
    for key, difference in DIFFERENCES.items():
        sentence, subject, parameters = parts(key)
        merged.setdefault((subject, sentence, difference.pushpin, difference.reason), []).append(parameters)
    return [
        [subject, sentence + _examples(parameters), pushpin, reason]
        for (subject, sentence, pushpin, reason), parameters in sorted(
            merged.items(), key=lambda row: row[0][0].lower()
        )
    ]


def _examples(parameters: Sequence[str]) -> str:
    named = [f"`{each}`" for each in parameters if each and not each.isdigit()]
    return f" Here: {', '.join(named)}." if named else ""


def difference_table() -> str:
    """The whole part of the document."""
    differences = table(["Subject", "gripproxy", "Pushpin 1.36", "Why"], rows())
    gaps = table(
        ["Subject", "What should be", "gripproxy"], [[*reversed(parts(key)[:2]), gap] for key, gap in GAPS.items()]
    )
    text = f"{INTRODUCTION}\n\n{differences}"
    return f"{text}\n\n### What gripproxy does not do yet\n\n{gaps}" if GAPS else text


def coverage_tables() -> str:
    """What Pushpin does, with the cases that show it, and what no case can show."""
    covered = [
        [part, name, ", ".join(f"`{case}`" for case in row)]
        for part, table_rows in PARTS.items()
        for name, row in table_rows.items()
        if not isinstance(row, Unseen)
    ]
    others = [[name, row.reason, f"`{row.test}`" if row.test else "–"] for name, row in unseen().items()]
    return f"""### What the cases cover

Each feature, limit and timer of Pushpin's, with the cases below `tests/conformance` that show it.

{table(["Part", "Pushpin", "Cases"], covered)}

### What no case can show

{table(["Pushpin", "Why no case can show it", "Shown by"], others)}"""


def written(document: str) -> str:
    """The document with its tables up to date; they are appended if it has none."""
    before, begin, rest = document.partition(BEGIN)
    after = rest.partition(END)[2] if begin else "\n"
    if not begin and before.strip():
        before = before.rstrip("\n") + "\n\n"
    return f"{before}{BEGIN}\n\n{difference_table()}\n\n{coverage_tables()}\n\n{END}{after}"
