"""Every module of gripproxy has its unit tests at the same place under tests/unit."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Reasons for modules without a unit test of their own.
DECLARATIONS = "declares values and nothing that happens; tested with what uses them"
SOCKETS = "works on real connections: tests/integration and tests/conformance"
THIN = "hands its arguments on: the commands are tested with their subjects, and by tests/integration"

# Module -> reason. An entry that has become untrue fails below.
WITHOUT_UNIT_TEST = {
    "__main__.py": THIN,
    "backend/messages.py": DECLARATIONS,
    "config/limits.py": DECLARATIONS,
    "errors.py": DECLARATIONS,
    "holding.py": SOCKETS,
    "opening.py": SOCKETS,
    "proxy.py": SOCKETS,
    "transports/__init__.py": DECLARATIONS,
    "transports/leg.py": DECLARATIONS,
}


def modules() -> list[str]:
    """List every module of the package, relative to it; a docstring-only ``__init__`` has nothing to test."""
    package = ROOT / "gripproxy"
    found = (path for path in package.rglob("*.py") if "__pycache__" not in path.parts)
    return sorted(path.relative_to(package).as_posix() for path in found if not is_docstring_only(path))


def is_docstring_only(path: Path) -> bool:
    return path.name == "__init__.py" and len(path.read_text().strip().splitlines()) <= 3


def unit_test_of(module: str) -> Path:
    """Name the place: grip/item.py -> tests/unit/grip/test_item.py, bus/__init__.py -> tests/unit/bus/test_bus.py."""
    path = Path(module)
    stem = path.parent.name if path.stem == "__init__" else path.stem.strip("_")
    return ROOT / "tests" / "unit" / path.parent / f"test_{stem}.py"


@pytest.mark.parametrize("module", modules())
def test_each_module_has_its_unit_test_or_a_reason(module: str) -> None:
    assert (module in WITHOUT_UNIT_TEST) != unit_test_of(module).is_file(), (
        f"write {unit_test_of(module).relative_to(ROOT)}, or give a reason here (not both)"
    )


def test_the_list_of_exceptions_names_real_modules() -> None:
    assert [] == [module for module in WITHOUT_UNIT_TEST if not (ROOT / "gripproxy" / module).is_file()]
