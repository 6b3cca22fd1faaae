"""A headless Chromium, driven over the DevTools protocol: just enough to open pages and look at them."""

import itertools
import json
import shutil
import time
from base64 import b64decode
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

from tests.integration.processes import Processes

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EXECUTABLE = next(filter(None, map(shutil.which, NAMES)), None)
OPTIONS = (
    "--headless",
    "--no-sandbox",  # containers run tests as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--log-level=3",
    "--remote-debugging-port=0",
)
LIMIT = 30.0  # seconds for anything to happen
POLL = 0.05


class DevTools:
    """A DevTools connection: one command at a time."""

    def __init__(self, address: str) -> None:
        self.closing = ExitStack()
        self.socket = self.closing.enter_context(connect(address, max_size=None, proxy=None))
        self.numbers = itertools.count(1)
        self.errors: list[str] = []  # uncaught exceptions, failed requests, and what the page wrote to console.error

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a DevTools command and returns its result. Raises: RuntimeError."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(LIMIT))
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return dict(message["result"])
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        if event["method"] == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(event["params"]["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.errors.append(event["params"]["entry"]["text"] + " " + event["params"]["entry"].get("url", ""))


class Page(DevTools):
    """A tab."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        for domain in ("Page", "Runtime", "Log"):
            self.command(f"{domain}.enable")

    def open(self, url: str) -> None:
        self.command("Page.navigate", url=url)

    def close(self) -> None:
        """Closes the tab."""
        self.command("Page.close")
        self.closing.close()

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page. Raises: RuntimeError when it throws."""
        answer = self.command("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Waits until a JavaScript expression is true, and returns its value. Raises: AssertionError."""
        limit = time.monotonic() + LIMIT
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < limit, f"{expression} did not become true; errors: {self.errors}"
            time.sleep(POLL)
        return value

    def type(self, text: str) -> None:
        """Types where the focus is."""
        self.command("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Presses and releases a key, such as Tab or Enter."""
        codes = {"Tab": 9, "Enter": 13}
        keys = {"key": key, "code": key, "windowsVirtualKeyCode": codes[key], "text": "\r" if key == "Enter" else ""}
        self.command("Input.dispatchKeyEvent", type="keyDown", **keys)
        self.command("Input.dispatchKeyEvent", type="keyUp", **keys)

    def show(self, width: int, height: int, *, dark: bool = False, mobile: bool = False) -> None:
        """Sets the window's size and the colours that the reader prefers."""
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path) -> None:
        """Writes the whole page as PNG."""
        path.write_bytes(b64decode(self.command("Page.captureScreenshot", captureBeyondViewport=True)["data"]))


class Chromium:
    """The browser; its tabs share nothing with the user's."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        assert EXECUTABLE is not None
        profile = folder / "profile"
        self.process = processes.start("chromium", EXECUTABLE, *OPTIONS, f"--user-data-dir={profile}", "about:blank")
        port = profile / "DevToolsActivePort"
        self.process.wait_until(lambda: port.exists() and len(port.read_text().splitlines()) == 2, "does not answer")
        number, path = port.read_text().splitlines()
        self.address = f"ws://127.0.0.1:{number}"
        self.browser = DevTools(f"{self.address}{path}")

    def close(self) -> None:
        """Lets go of the browser, which ends with its `Processes`."""
        self.browser.closing.close()

    def new_page(self) -> Page:
        """Opens a tab."""
        target = self.browser.command("Target.createTarget", url="about:blank")["targetId"]
        return Page(f"{self.address}/devtools/page/{target}")
