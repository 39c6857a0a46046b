"""A headless Chromium that tests drive: its DevTools protocol over two pipes, with no further package."""

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Browser:
    """One tab. `requested` has the address of everything that it asked for."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._write, self._read = os.fdopen(to_browser, "wb"), os.fdopen(from_browser, "rb")
        self._number, self._rest, self._tab = 0, b"", ""
        self.requested: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._tab = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for part in ("Page", "Network", "Runtime", "DOM"):
            self.call(f"{part}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """A command of the protocol and its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._tab:
            message["sessionId"] = self._tab
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while True:
            answer = self._next()
            if answer.get("method") == "Network.requestWillBeSent":
                self.requested.append(answer["params"]["request"]["url"])
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _next(self) -> Any:
        while b"\0" not in self._rest:
            part = self._read.read1(1 << 16)
            assert part, "the browser ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)

    def run(self, script: str) -> Any:
        """The value of an expression in the page, waited for where it is a promise."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until the page fulfils a condition."""
        self.run(f"new Promise(done => {{ const look = () => ({condition}) ? done() : setTimeout(look, 10);"
                 " look(); })")

    def visit(self, address: str) -> None:
        """Open an address, and wait until it is there."""
        self.call("Page.navigate", url=address)
        self.until(f"location.href.startsWith({json.dumps(address)}) && document.readyState === 'complete'")

    def choose_file(self, selector: str, path: Path) -> None:
        """What a user does in the dialogue of a file field."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        field = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=field, files=[str(path)])

    def look(self, dark: bool) -> None:
        """Prefer a dark or a light ground, as a user's system does."""
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])


@contextlib.contextmanager
def chromium(program: str, folder: Path) -> Iterator[Browser]:
    """Chromium in a process of its own, with nothing remembered."""
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-extensions",
             "--window-size=1280,1000", f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank"]

    def pipes() -> None:  # the protocol is at 3 (in) and 4 (out)
        spare = os.dup(theirs_out)
        os.dup2(theirs_in, 3)
        os.dup2(spare, 4)

    process = subprocess.Popen([program, *flags], preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        browser = Browser(ours_out, ours_in)
        yield browser
        browser.call("Browser.close")
    finally:
        process.terminate()
        process.wait(30)
