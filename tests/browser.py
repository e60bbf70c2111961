"""A headless Chromium, spoken to over the DevTools protocol on a pipe: no port, no driver, no library."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)  # fmt: skip
#: resolves to true once an expression is, looking again at every mutation of the document
WATCH = """new Promise((resolve) => {
    const done = (value) => { observer.disconnect(); clearTimeout(timer); resolve(value); return true; };
    const value = () => { try { return (EXPRESSION); } catch { return null; } };
    const look = () => { return Boolean(value()) && done(true); };
    const observer = new MutationObserver(look);
    const timer = setTimeout(() => done(false), MILLISECONDS);
    const everything = {subtree: true, childList: true, characterData: true, attributes: true};
    if (!look()) { observer.observe(document, everything); addEventListener("load", look); }
})"""


class Page:
    """One tab. Every wait has a deadline."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        #: where the pages of the present test come from
        self.origin = ""
        #: what the page complained about: exceptions, refused content, console errors
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def open_tab(self) -> None:
        """Make the tab that this object drives."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command and its result."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = monotonic() + 30
        while True:
            answer = self._next(deadline)
            if answer.get("id") == self._last:
                assert "error" not in answer, answer["error"]
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def goto(self, url: str) -> None:
        """Load a page."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """A JavaScript expression's value; promises are awaited."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 20) -> None:
        """Wait until an expression is true."""
        script = WATCH.replace("EXPRESSION", expression).replace("MILLISECONDS", str(int(seconds * 1000)))
        came = self.evaluate(script)
        assert came, f"never came true: {expression}\n{self.text()}\n{self.complaints}"

    def press(self, key: str) -> None:
        """One key, as a keyboard would: Tab, Enter, Escape."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **text)

    def shape(self, *, width: int = 1200, height: int = 1000, dark: bool = False) -> None:
        """The screen that the page is on."""
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def text(self) -> str:
        """What a reader sees."""
        return str(self.evaluate("document.body.innerText"))

    def screenshot(self, path: Path, *, width: int = 1200, height: int = 1000, dark: bool = False) -> None:
        """A picture of the page as it is on a screen of that size."""
        self.shape(width=width, height=height, dark=dark)
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._answers, 1 << 16)
            assert data, "the browser is gone"
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif message.get("method") == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])


@contextmanager
def chromium(profile: Path, *, language: str = "en") -> Iterator[Page]:
    """A browser with an empty profile, and one tab of it."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: ./dev test installs it"
    read_commands, commands = os.pipe()
    answers, write_answers = os.pipe()
    # The protocol wants descriptors 3 and 4; numbers well above keep the two moves from treading on each other.
    source, sink = fcntl.fcntl(read_commands, fcntl.F_DUPFD, 50), fcntl.fcntl(write_answers, fcntl.F_DUPFD, 50)
    null = os.open(os.devnull, os.O_RDWR)
    actions = [
        (os.POSIX_SPAWN_DUP2, source, 3), (os.POSIX_SPAWN_DUP2, sink, 4),
        (os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2),
    ]  # fmt: skip
    arguments = [program, *FLAGS, f"--user-data-dir={profile}", f"--accept-lang={language}", "about:blank"]
    pid = os.posix_spawn(program, arguments, os.environ, file_actions=actions, setpgroup=0)
    for descriptor in (read_commands, write_answers, source, sink, null):
        os.close(descriptor)
    page = Page(commands, answers)
    try:
        page.open_tab()
        yield page
    finally:
        os.close(commands)
        os.close(answers)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
