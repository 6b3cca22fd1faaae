"""The README's session in the terminal does what the README says, command by command."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT, Headline
from tests.integration.processes import Processes
from tests.integration.test_run import start
from tests.ports import free_port

pytestmark = pytest.mark.requires_program("curl")

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DATE = re.compile(r'"date": "[^"]+"')
LIMIT = 20.0  # seconds


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    """The fenced blocks of the section "Try it", in order."""
    section = (ROOT / "README.md").read_text().partition("\n## Try it\n")[2].partition("\n## ")[0]
    return [content for _, content in BLOCK.findall(section)]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """What `make run` starts, on another port, with an empty database."""
    folder = tmp_path_factory.mktemp("readme")
    ports = [free_port(), free_port(), free_port()]
    with Processes(folder) as processes:
        start(processes, folder, ports)
        yield ports[0]


def command(block: str, port: int) -> list[str]:
    return ["bash", "-ec", block.replace("127.0.0.1:7999", f"127.0.0.1:{port}")]


def run(block: str, port: int) -> str:
    return subprocess.run(command(block, port), stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT).stdout


def undated(text: str) -> str:
    return DATE.sub('"date": "..."', text)


def block_with(blocks: list[str], text: str) -> int:
    (index,) = [index for index, block in enumerate(blocks) if text in block and "curl" in block]
    return index


def test_session(blocks: list[str], port: int) -> None:
    """Create, listen, change, wait: each answer is the one that stands there."""
    create = block_with(blocks, "curl http://127.0.0.1:7999/ -d")
    assert undated(blocks[create + 1]) == undated(run(blocks[create], port))

    listen = command(blocks[block_with(blocks, "text/event-stream")], port)
    with subprocess.Popen(listen, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as listener:
        time.sleep(1)  # until it is held: nothing tells that to the outside
        change = block_with(blocks, "-X PUT")
        run(blocks[change], port)
        assert listener.stdout is not None
        assert undated(blocks[change + 1]) == undated("".join(listener.stdout.readline() for _ in range(2)))
        listener.kill()

    wait = command(blocks[block_with(blocks, "Wait: 20")], port)
    with subprocess.Popen(wait, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as waiting:
        time.sleep(1)
        run(blocks[change], port)
        answer, _ = waiting.communicate(timeout=LIMIT)
    assert answer.startswith("HTTP/1.1 200 OK")
    assert "Hello again" == json.loads(answer.partition("\n\n")[2])["text"]


def test_publishing_from_the_shell(headline: Headline) -> None:
    """The command of the README publishes."""
    (line,) = re.findall(r"^gripproxy (publish .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    script = f"{sys.executable} -m gripproxy {line} --control {headline.control_url}"
    subprocess.run(["bash", "-ec", script], cwd=ROOT, check=True, timeout=LIMIT)


def test_links_lead_somewhere() -> None:
    """Every relative link of the README and of the documents is a file of this repository."""
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
            if "://" not in target:
                assert Path(document.parent, target).exists(), f"{document.name}: {target}"
