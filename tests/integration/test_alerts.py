"""The alerts of the documentation, as Prometheus reads them."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALERTS = ROOT / "docs" / "prometheus" / "alerts.yml"

pytestmark = pytest.mark.requires_program("promtool")


@pytest.fixture
def promtool(requires_program: Callable[[str], Path], tmp_path: Path) -> Callable[..., str]:
    """Runs promtool beside a copy of the alerts; gives what it says."""
    shutil.copy(ALERTS, tmp_path)
    path = requires_program("promtool")

    def run(*arguments: str) -> str:
        done = subprocess.run([path, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout

    return run


def test_prometheus_takes_them(promtool: Callable[..., str]) -> None:
    count = ALERTS.read_text().count("- alert:")
    assert f"{count} rules found" in promtool("check", "rules", "alerts.yml")


def test_they_come_when_they_should_and_only_then(promtool: Callable[..., str], tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("alerts.test.yml"), tmp_path)
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yml")
