"""Drives a headless Chromium over its pipe (Chrome DevTools Protocol), with the standard library and no network."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, cast

Json = Mapping[str, object]
Scheme = Literal["light", "dark"]
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SECONDS = 60.0
_SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-breakpad",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # no name is ever resolved
    "--remote-debugging-pipe",
)
_KEYS = {"Enter": (13, "\r"), " ": (32, " "), "Tab": (9, ""), "ArrowRight": (39, "")}


def find_chromium() -> str | None:
    """Return the path of a Chromium; `None` where there is none."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Browser:
    """A running Chromium.

    Args:
        program: Its path.
        profile: An empty folder for what it writes.
    """

    def __init__(self, program: str, profile: Path) -> None:
        inward, self._to = map(_out_of_the_way, os.pipe())
        self._from, outward = map(_out_of_the_way, os.pipe())
        self._log = profile / "log.txt"
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT, 0o600)
        # Chromium reads commands from descriptor 3 and answers on 4.
        actions = [(os.POSIX_SPAWN_DUP2, own, other) for own, other in ((inward, 3), (outward, 4), (log, 1), (log, 2))]
        command = [program, *_SWITCHES, f"--user-data-dir={profile / 'profile'}"]
        self._process = os.posix_spawn(program, command, os.environ, file_actions=actions, setpgroup=0)
        for descriptor in (inward, outward, log):
            os.close(descriptor)
        self._buffer = b""
        self._number = 0
        self._events: list[Json] = []

    def call(self, method: str, session: str = "", **arguments: object) -> Json:
        """Send a command and return its result; what happens meanwhile is kept for `events`."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": arguments}
        if session:
            message["sessionId"] = session
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self._to, rest) :]
        deadline = time.monotonic() + _SECONDS
        while True:
            answer = self._read(deadline)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return cast("Json", answer["result"])
            self._events.append(answer)

    def events(self, session: str) -> list[Json]:
        """Return and forget what has happened in a page."""
        own = [event for event in self._events if event.get("sessionId") == session]
        self._events = [event for event in self._events if event.get("sessionId") != session]
        return own

    def close(self) -> None:
        """End the process and all that it started."""
        with suppress(AssertionError, OSError):
            self.call("Browser.close")
        deadline = time.monotonic() + 10.0
        while time.monotonic() < deadline and os.waitpid(self._process, os.WNOHANG)[0] == 0:
            time.sleep(0.02)
        with suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._process, 0)
        os.close(self._to)
        os.close(self._from)

    def _read(self, deadline: float) -> Json:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"Chromium has not answered in {_SECONDS:.0f} s"
            found = os.read(self._from, 1 << 20)
            assert found, f"Chromium has ended: {self._log.read_text(encoding='utf-8', errors='replace')[-2000:]}"
            self._buffer += found
        message, _, self._buffer = self._buffer.partition(b"\0")
        return cast("Json", json.loads(message))


class Page:
    """A file that is open in a browser, cut off from the network.

    Args:
        browser: The browser.
        target: The browser's name of the tab.
    """

    def __init__(self, browser: Browser, target: str) -> None:
        self._browser = browser
        self._target = target
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = str(attached["sessionId"])
        self._seen: list[Json] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        self._call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        )

    def open(self, file: Path, width: int, scheme: Scheme, scripts: bool = True, media: str = "") -> None:
        """Show a file at a width of so many pixels, in light or dark colors."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        self._call(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        self._call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self._events()
        self._seen = []
        self._call("Page.navigate", url=file.resolve().as_uri())
        deadline = time.monotonic() + _SECONDS
        while not any(event["method"] == "Page.loadEventFired" for event in self._events()):
            assert time.monotonic() < deadline, f"`{file}` has not loaded in {_SECONDS:.0f} s"
            self._call("Page.getFrameTree")
            time.sleep(0.01)

    def evaluate(self, expression: str) -> object:
        """Return the value of a JavaScript expression."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return cast("Json", found["result"]).get("value")

    def texts(self, expression: str) -> list[str]:
        """Return the value of an expression that is a list of texts."""
        found = self.evaluate(expression)
        assert isinstance(found, list), found
        return [str(one) for one in found]

    def click(self, selector: str) -> None:
        """Click with the mouse on the middle of an element."""
        place = self.evaluate(
            f"(() => {{ const one = document.querySelector({json.dumps(selector)}); "
            "one.scrollIntoView({block: 'center'}); const box = one.getBoundingClientRect(); "
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        x, y = cast("list[float]", place)
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key: `Enter`, `Tab`, `ArrowRight` or a space."""
        code, text = _KEYS[key]
        named = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self._call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **named)
        self._call("Input.dispatchKeyEvent", type="keyUp", **named)

    def complaints(self) -> list[str]:
        """Return what stands in the console since the page was opened: messages, errors and warnings of the browser."""
        said = []
        for event in self._events():
            details = cast("Json", event["params"])
            if event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"):
                said.append(json.dumps(details)[:500])
        return said

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the page was opened; what lies inside the page is left out."""
        sent = [event for event in self._events() if event["method"] == "Network.requestWillBeSent"]
        found = [str(cast("Json", cast("Json", event["params"])["request"])["url"]) for event in sent]
        return [address for address in found if not address.startswith("data:")]

    def screenshot(self, file: Path) -> None:
        """Write an image of the whole page."""
        size = cast("Json", self._call("Page.getLayoutMetrics")["cssContentSize"])
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        image = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        file.write_bytes(base64.b64decode(str(image["data"])))

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", targetId=self._target)

    def _call(self, method: str, **arguments: object) -> Json:
        return self._browser.call(method, self._session, **arguments)

    def _events(self) -> list[Json]:
        self._seen += self._browser.events(self._session)
        return self._seen


@contextmanager
def running_browser(program: str) -> Iterator[Browser]:
    """Start a browser for as long as the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="pytest-chromium-"))
    try:
        browser = Browser(program, folder)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_page(browser: Browser) -> Page:
    """Return an empty tab."""
    return Page(browser, str(browser.call("Target.createTarget", url="about:blank")["targetId"]))


def _out_of_the_way(descriptor: int) -> int:
    """Return a copy of a descriptor above those that Chromium wants, and close the original."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return copy
