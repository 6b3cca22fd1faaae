"""What the documents name exists: modules, tests, links, commands, settings, metrics.

What they say of it is tested elsewhere: examples in `tests/integration`, settings in `tests/unit/config`.
"""

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import click
import pytest

from gripproxy import config
from gripproxy.__main__ import main
from gripproxy.changes import APPLIED, APPLIED_WHOLE
from gripproxy.config import Config, setting_types
from gripproxy.config.reader import inner_struct
from gripproxy.errors import ConfigError
from gripproxy.metrics import METERS
from tests.conftest import PROGRAMS
from tests.test_architecture import FLOORS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {document.relative_to(ROOT).as_posix(): document.read_text() for document in DOCUMENTS}

SUPPORT_HEAD = ["Feature", "Where specified", "Module", "Test", "Pushpin", "gripproxy"]

COMMANDS = "|".join(map(re.escape, main.commands))


def rows(text: str) -> Iterator[list[str]]:
    """The rows of all tables in a text, heads included."""
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("| ---"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def support() -> list[list[str]]:
    """The rows of the tables of support, without heads."""
    found = []
    is_in = False
    for line in TEXTS["docs/protocol.md"].splitlines():
        cells = next(rows(line), None)
        if cells is None:
            is_in = is_in and line.startswith("| ---")
        elif is_in:
            found.append(cells)
        else:
            is_in = cells == SUPPORT_HEAD
    return found


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def prose(text: str) -> str:
    """A text without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


@lru_cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


# --- the tables of support


def test_there_are_tables_of_support() -> None:
    assert len(support()) > 100


@pytest.mark.parametrize("row", support(), ids=lambda row: row[0])
def test_a_row_of_support_names_modules_and_tests_that_exist(row: list[str]) -> None:
    feature, source, modules, tests, pushpin, gripproxy = row
    assert feature
    assert source
    assert pushpin
    assert gripproxy
    assert code(modules)
    assert [] == [module for module in code(modules) if not (ROOT / "gripproxy" / module).is_file()]
    assert code(tests) or (tests == "–" and gripproxy.startswith("none: "))
    for test in code(tests):
        path, _, name = test.partition("::")
        assert (ROOT / "tests" / path).is_file(), test
        assert name in names_in(ROOT / "tests" / path), test


def test_every_feature_has_one_row() -> None:
    features = [row[0] for row in support()]
    assert [] == sorted({feature for feature in features if features.count(feature) > 1})


# --- links


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading.replace("\\", "").replace("`", "")) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def links() -> list[tuple[str, str]]:
    return [
        (name, target)
        for name, text in TEXTS.items()
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(text))
        if "://" not in target
    ]


@pytest.mark.parametrize(("name", "target"), links())
def test_a_link_leads_somewhere(name: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    place = (ROOT / name).parent / path if path else ROOT / name
    assert place.exists()
    if anchor:
        assert anchor in anchors(place.read_text())


def test_every_document_is_in_the_readme() -> None:
    named = {target for name, target in links() if name == "README.md"}
    assert set() == {name for name in TEXTS if name != "README.md"} - named


@pytest.mark.parametrize("name", TEXTS)
def test_a_table_of_contents_has_every_section(name: str) -> None:
    """Where a document begins with one: what is not in it is not found."""
    head, separator, rest = prose(TEXTS[name]).partition("\n## ")
    listed = re.findall(r"\]\(#([^)]+)\)", head)
    assert not listed or anchors(separator + rest.replace("\n### ", "\n")) <= set(listed)


# --- the architecture

ARCHITECTURE = TEXTS["docs/architecture.md"]


def test_the_layout_has_every_module() -> None:
    """But for the load test's, which are a subject of their own."""
    layout = ARCHITECTURE.partition("\n## Layout\n")[2].partition("\n## ")[0]
    modules = [path for path in (ROOT / "gripproxy").rglob("*.py") if path.parent.name != "load"]
    modules = [path for path in modules if path.name != "__init__.py"]
    assert set(re.findall(r"\b\w+\.py\b", layout)) == {path.name for path in modules} | {"__init__.py"}
    packages = {path.parent.name for path in (ROOT / "gripproxy").rglob("__init__.py")}
    assert packages <= set(re.findall(r"\b(\w+)/", layout))


def test_the_table_of_floors_is_the_one_that_is_kept() -> None:
    table = {cells[0]: code(cells[1]) for cells in rows(ARCHITECTURE) if re.match(r"\d", cells[0])}
    told = {module.rstrip("/"): int(floor[0]) for floor, modules in table.items() for module in modules}
    assert {**FLOORS, "errors": 0} == told


# --- commands


def command_lines() -> list[tuple[str, str, str]]:
    """Document, command and arguments, wherever `gripproxy COMMAND` stands."""
    found = []
    for name, text in TEXTS.items():
        for line in re.sub(r"\\\n\s*", " ", text).splitlines():
            for match in re.finditer(rf"\bgripproxy ({COMMANDS})\b([^`|#]*)", line):
                found.append((name, match[1], match[2]))
    return found


def options(command: str) -> set[str]:
    parameters = main.commands[command].params
    return {"--help", *(option for one in parameters if isinstance(one, click.Option) for option in one.opts)}


@pytest.mark.parametrize(("name", "command", "arguments"), command_lines())
def test_a_command_has_the_options_that_are_shown(name: str, command: str, arguments: str) -> None:
    assert set() == set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", arguments)) - options(command)


@pytest.mark.parametrize(("name", "command"), [("docs/load.md", "load"), ("docs/configuration.md", "run")])
def test_options_in_the_text_are_the_commands(name: str, command: str) -> None:
    text = prose(TEXTS[name]).partition("\n## The benchmark set")[0]
    named = {option for span in code(text) for option in re.findall(r"(?:^|\s)(--[a-z][a-z-]*)", span)}
    assert named
    assert set() == named - options(command)


def test_settings_that_need_a_restart_are_those_that_a_reload_does_not_apply() -> None:
    """The row of what needs a restart, `table.name`, `name`; `[table]`."""
    row = next(cells for cells in rows(TEXTS["docs/configuration.md"]) if cells[1].startswith("A restart."))
    named = set()
    for part in row[0].split(";"):
        first, *others = code(part)
        table, _, name = first.strip("[]").partition(".")
        names = [name, *others] if name else list(setting_types(setting_types(Config)[table]))
        named |= {f"{table}.{name}" for name in names}
    waiting = {
        f"{table}.{name}"
        for table, kind in setting_types(Config).items()
        if table not in APPLIED_WHOLE
        for name in setting_types(kind)
        if name not in APPLIED.get(table, ())
    }
    assert waiting == named


def test_the_programs_that_tests_use_are_in_the_readme() -> None:
    assert set() == set(PROGRAMS) - set(code(prose(TEXTS["README.md"])))


def test_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {
        target for text in TEXTS.values() for target in re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.MULTILINE)
    }
    assert named
    assert set() == {target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)}


def test_modules_that_are_run_exist() -> None:
    named = {module for text in TEXTS.values() for module in re.findall(r"python3? -m (tests[\w.]*)", text)}
    assert named
    assert set() == {module for module in named if importlib.util.find_spec(f"{module}.__main__") is None}


def test_files_that_are_named_exist() -> None:
    pattern = r"`((?:tests|gripproxy|headline_backend|docs)/[\w./-]+)`"
    named = {path for text in TEXTS.values() for path in re.findall(pattern, text)}
    assert named
    assert set() == {path for path in named if not (ROOT / path).exists()}


# --- settings


def settings() -> dict[str, set[str]]:
    """Table -> its settings, those of tables in it too; tables by name and in lists under their own name."""
    found = {}
    for name, kind in setting_types(Config).items():
        struct = inner_struct(kind)
        if struct is not None:
            inner = filter(None, map(inner_struct, setting_types(struct).values()))
            found[name] = set(setting_types(struct)).union(*map(setting_types, inner))
    return found


def test_settings_that_are_named_exist() -> None:
    known = settings()
    wrong = []
    for name, text in TEXTS.items():
        for table, setting in re.findall(rf"`({'|'.join(known)})\.([a-z_]+)(?: = [^`]*)?`", text):
            if setting not in known[table] and setting != "py":
                wrong.append(f"{name}: {table}.{setting}")
    assert [] == wrong


def test_variables_that_are_named_exist() -> None:
    known = settings()
    wrong = []
    for name, text in TEXTS.items():
        for variable in re.findall(r"\bGRIPPROXY__([A-Z0-9_]+)", text):
            table, *_, setting = variable.lower().split("__") * 2
            if variable.lower() not in setting_types(Config) and setting not in known.get(table, ()):
                wrong.append(f"{name}: {variable}")
    assert [] == wrong


def toml() -> list[tuple[str, str]]:
    return [
        (name, block)
        for name, text in TEXTS.items()
        for block in re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize(("name", "block"), toml())
def test_an_example_of_a_configuration_loads(name: str, block: str, tmp_path: Path) -> None:
    """As far as the files exist that it names."""
    if "[[routes]]" not in block:
        block += '\n[[routes]]\nbackends = ["http://127.0.0.1:8000"]\n'
    path = tmp_path / "config.toml"
    path.write_text(re.sub(r'"file:[^"]*"', '"a key"', block))
    problem = problem_of(path)
    assert not problem or "there is no file" in problem


def problem_of(path: Path) -> str:
    try:
        config.load(path)
    except ConfigError as error:
        return str(error)
    return ""


ALERTS = (ROOT / "docs" / "prometheus" / "alerts.yml").read_text()
DASHBOARD = (ROOT / "docs" / "grafana.json").read_text()

# What Prometheus, not the proxy, puts to each series.
OF_PROMETHEUS = {"instance", "job", "le"}


def queries(node: object) -> Iterator[str]:
    """The queries of a dashboard, wherever they stand."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("expr", "query") and isinstance(value, str):
                yield value
            else:
                yield from queries(value)
    elif isinstance(node, list):
        for one in node:
            yield from queries(one)


def series() -> dict[str, set[str]]:
    """Every name that can be scraped, and the labels that it has."""
    found = {"gripproxy_build_info": {"version", "python"}}
    for meter in METERS:
        suffixes = ("_bucket", "_sum", "_count") if meter.kind == "histogram" else ("",)
        found |= {meter.full_name + suffix: set(meter.labels) for suffix in suffixes}
    return found


@pytest.mark.parametrize("text", [ALERTS, "\n".join(queries(json.loads(DASHBOARD)))], ids=["alerts", "dashboard"])
def test_alerts_and_dashboard_ask_for_what_there_is(text: str) -> None:
    """Names, and the labels that are matched or summed by."""
    known = series()
    asked = re.findall(r"\b(gripproxy_\w+)(?:\{([^}]*)\})?", text)
    assert len({name for name, _ in asked}) > 10
    assert set() == {name for name, _ in asked} - set(known)
    for name, matchers in asked:
        assert set() == set(re.findall(r"(\w+)(?:=~?|!=)", matchers)) - known[name] - OF_PROMETHEUS, name
    for labels, name in re.findall(r"by \(([^)]*)\) \((?:rate\()?(gripproxy_\w+)", text):
        assert set() == set(re.findall(r"\w+", labels)) - known[name] - OF_PROMETHEUS, name


def test_every_panel_has_a_place_of_its_own() -> None:
    panels = json.loads(DASHBOARD)["panels"]
    assert len(panels) == len({panel["id"] for panel in panels})
    places = [
        (column, line)
        for panel in panels
        for column in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for line in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places))
    assert max(column for column, _ in places) < 24


def test_it_is_said_of_every_alert_what_to_do() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", ALERTS))
    told = [cells for cells in rows(TEXTS["docs/metrics.md"]) if cells[0].startswith("`Gripproxy")]
    assert alerts == {name for cells in told for name in code(cells[0])}
    assert all(cells[2] for cells in told)


def test_metrics_that_are_named_exist() -> None:
    known = set(re.findall(r"gripproxy_[a-z_]+", TEXTS["docs/metrics.md"]))
    named = {metric for text in TEXTS.values() for metric in re.findall(r"\bgripproxy_[a-z_]+", text)}
    assert set() == named - known
