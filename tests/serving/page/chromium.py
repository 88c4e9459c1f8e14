"""Drive a real Chromium by its DevTools protocol: open a page, press keys, run JavaScript."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

PROGRAM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
in_chromium = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium")
NAMED = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    "Backspace": 8,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "Home": 36,
    "End": 35,
}


class Chromium:
    """A browser without a window.

    Args:
        folder: Its profile.
    """

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [
                str(PROGRAM),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-port=0",
                f"--user-data-dir={folder}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._number, self.complaints = 0, []
        port = _wait(lambda: (folder / "DevToolsActivePort").read_text().split()[0])
        pages = _wait(lambda: json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json")))
        page = next(each for each in pages if each["type"] == "page")
        self._socket = connect(page["webSocketDebuggerUrl"], max_size=None)
        for domain in ("Page", "Runtime", "Log"):
            self._call(f"{domain}.enable")

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        self._socket.send(
            json.dumps(
                {
                    "id": self._number,
                    "method": method,
                    "params": parameters,
                }
            )
        )
        while True:
            said = json.loads(self._socket.recv(timeout=30))
            if said.get("id") == self._number:
                if "navigated" in said.get("error", {}).get("message", ""):
                    raise ConnectionError(said)  # the page changed meanwhile: `until` asks again
                assert "error" not in said, said
                return said["result"]
            if said["method"] == "Runtime.exceptionThrown":
                self.complaints.append(str(said["params"])[:300])
            if said["method"] == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.complaints.append(said["params"]["entry"]["text"])

    def open(
        self,
        address: str,
        width: int = 1280,
        until: str = "document.getElementById('model')?.options.length > 0",
        height: int = 900,
    ) -> None:
        """Open a page in a window of this size, and wait until an expression is true."""
        shape = {
            "width": width,
            "height": height,
            "deviceScaleFactor": 1,
            "mobile": width < 500,
        }
        self._call("Emulation.setDeviceMetricsOverride", **shape)
        self._call("Page.navigate", url=address)
        self.until(until)

    def leave(self) -> None:
        """Leave the page, which ends its requests."""
        self.open("about:blank", until="location.href === 'about:blank'")

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        said = self._call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def click(self, selector: str, text: str = "") -> None:
        """Click the first element of a CSS selector that begins with a text, once there is one."""
        found = f"[...document.querySelectorAll({selector!r})].find((each) => each.textContent.startsWith({text!r}))"
        self.until(f"{found} && true")
        self.run(f"{found}.click()")

    def fill(self, selector: str, text: str) -> None:
        """Set the value of a field."""
        self.run(f"document.querySelector({selector!r}).value = {json.dumps(text)}")

    def until(self, script: str, seconds: float = 30) -> Any:
        """Wait until an expression is true, and return its value."""
        return _wait(lambda: self.run(script) or None, seconds)

    def text(self, element: str) -> str:
        """Return the text of an element by its id."""
        return self.run(f"document.getElementById({element!r}).textContent")

    def press(self, keys: str, alt: bool = False) -> None:
        """Press a named key, or one key for each character; *alt*: with the Alt key held."""
        for key in [keys] if keys in NAMED else keys:
            about = {
                "key": key,
                "windowsVirtualKeyCode": NAMED.get(key, 0),
                "modifiers": int(alt),
            }
            about["code"] = f"Digit{key}" if key.isdigit() else key if key in NAMED else ""
            text = (
                {"text": "\r"} if key == "Enter" else {} if key in NAMED or alt else {"text": key}
            )
            self._call(
                "Input.dispatchKeyEvent",
                type="keyDown",
                **about,
                **text,
            )
            self._call("Input.dispatchKeyEvent", type="keyUp", **about)

    def point(
        self,
        x: float,
        y: float,
        click: bool = False,
    ) -> None:
        """Move the pointer to a place of the window, and maybe click there."""
        for kind in ["mouseMoved", *(["mousePressed", "mouseReleased"] if click else [])]:
            button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self._call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=x,
                y=y,
                **button,
            )

    def accessible(self) -> list[dict[str, Any]]:
        """Return what assistive technology gets: role, name, description, properties and parent of each node."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        return [
            {
                "role": node["role"]["value"],
                "name": node.get("name", {}).get("value", ""),
                "description": node.get("description", {}).get("value", ""),
                "id": node["nodeId"],
                "parent": node.get("parentId"),
                **{one["name"]: one["value"].get("value") for one in node.get("properties", [])},
            }
            for node in nodes
            if not node["ignored"]
        ]

    def prefer(self, scheme: str) -> None:
        """Let the user prefer a colour scheme, "dark" or "light"; "": none."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._call("Emulation.setEmulatedMedia", features=features)

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self._process.terminate()
        self._process.wait(10)


def _wait(look: Any, seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while True:
        with suppress(OSError, IndexError):
            if (found := look()) is not None:
                return found
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
