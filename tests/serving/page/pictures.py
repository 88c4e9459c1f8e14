"""Take the pictures of the served page in docs/images with Chromium.

    python -m tests.serving.page.pictures               # the server of this folder's home answers with its champion
    python -m tests.serving.page.pictures --home HOME --model reviewlm-demo

The pictures in docs/how_to/serve.md are of the demo's champion (`make demo`). They differ with the model and its
figures, and a little with the fonts of the machine.
"""

from __future__ import annotations

import argparse
import base64
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tests.serving.page.chromium import Chromium
from tests.serving.processes import ROOT, Process

IMAGES = ROOT / "docs" / "images"
GAP = 8
"""Pixels around each tile."""
BEGUN, WRITTEN, SURPRISING = "The staff was f", "The staff was friendly.", "hour"


def write(page: Chromium) -> None:
    """Begin a word, and wait for its completions."""
    page.run("document.getElementById('write-text').focus()")
    page.press(BEGUN)
    page.until(f"document.getElementById('write-keys').textContent.startsWith('{len(BEGUN)} characters')")
    page.until("document.querySelector('#offers button') && true")


def surprisal(page: Chromium) -> None:
    """Colour the text that is there, and choose a token."""
    page.click("#tab-surprisal")
    page.click("#surprisal-form button")
    page.click("#heat span", f" {SURPRISING}")
    page.until("document.getElementById('alternatives').textContent && true")


def dasher(page: Chromium) -> None:
    """Write a text with the buttons, and point at what may follow."""
    page.click("#tab-dasher")
    buttons = "document.querySelectorAll('#dasher-buttons button')"
    for end, char in enumerate(WRITTEN, start=1):
        name = "space" if char == " " else char
        page.until(f"{buttons}.length > 0")
        if not page.run(f"[...{buttons}].some((each) => each.textContent.startsWith('{name} '))"):
            page.click("#dasher-buttons button", "all ")
        page.click("#dasher-buttons button", f"{name} ")
        page.until(f"document.getElementById('dasher-text').textContent === {WRITTEN[:end]!r}")
    page.until(f"document.getElementById('dasher-code').textContent.includes('({len(WRITTEN)} characters)')")
    page.until(f"{buttons}.length > 0")
    box = "document.getElementById('dasher-canvas').getBoundingClientRect()"
    left, top, wide, tall = page.run(f"(({{ x, y, width, height }}) => [x, y, width, height])({box})")
    page.point(left + 0.8 * wide, top + 0.55 * tall)


def card(page: Chromium) -> None:
    """Open the model card."""
    page.click("#tab-card")
    page.until("document.querySelectorAll('#card-body h2').length > 1")


TABS: tuple[Callable[[Chromium], None], ...] = (write, surprisal, dasher, card)


@dataclass(frozen=True)
class Picture:
    """A picture of all tabs.

    Args:
        name: Of its file in docs/images.
        width, height: Pixels of a tile; what is below is cut off.
        columns: Tiles beside each other.
        scheme: Colours: "light" or "dark".
    """

    name: str
    width: int
    height: int
    columns: int
    scheme: str


PICTURES = (
    Picture("served-page.png", 740, 700, 2, "light"), Picture("served-page-phone.png", 390, 900, 4, "dark"),
)  # fmt: skip


def taken(browser: Chromium, address: str, picture: Picture) -> bytes:
    """Return a picture of the page at an address, as PNG."""
    browser.prefer(picture.scheme)
    browser.hide_scrollbars()
    tiles = []
    for tab in TABS:
        browser.open(address, picture.width)
        tab(browser)
        assert browser.run("document.getElementById('error').hidden"), browser.text("error")
        tiles.append(base64.b64encode(browser.picture()).decode())
        browser.leave()
    whole = side_by_side(browser, tiles, picture)
    browser.hide_scrollbars(False)
    return in_few_colours(whole)


def side_by_side(browser: Chromium, tiles: list[str], picture: Picture) -> bytes:
    """Return pictures (PNG in base64) as one: each cut to the size of a tile, with gaps between them."""
    rows = -(-len(tiles) // picture.columns)
    width, height = (GAP + count * (size + GAP) for count, size in (
        (picture.columns, picture.width), (rows, picture.height)
    ))  # fmt: skip
    browser.open("about:blank", width, until="document.body && true", height=height)
    shown = "".join(f'<div><img src="data:image/png;base64,{tile}"></div>' for tile in tiles)
    style = (
        f"body {{ margin: 0; padding: {GAP}px; background: #9297a0; display: grid; gap: {GAP}px; "
        f"grid-template-columns: repeat({picture.columns}, {picture.width}px); box-sizing: border-box; "
        f"width: {width}px; height: {height}px }} div {{ height: {picture.height}px; overflow: hidden }} "
        "img { display: block }"
    )
    browser.run(f"document.documentElement.innerHTML = `<head><style>{style}</style></head><body>{shown}</body>`")
    browser.until("[...document.images].every((each) => each.complete && each.naturalWidth)")
    return browser.picture()


def in_few_colours(png: bytes) -> bytes:
    """Return a picture with 256 colours at most: a third of the bytes."""
    made = io.BytesIO()
    few = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(made, "PNG", optimize=True)
    return made.getvalue()


def main() -> None:
    """Start a server and a browser, and write all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0], allow_abbrev=False)
    parser.add_argument("--home", type=Path, default=ROOT / ".reviewlm", help="home with a champion")
    parser.add_argument("--model", default="", help="registered model; default: as `reviewlm serve`")
    parser.add_argument("--out", type=Path, default=IMAGES, help="folder of the pictures (default docs/images)")
    args = parser.parse_args()
    server = Process(args.home.resolve(), *(["--model", args.model] if args.model else []))
    try:
        with tempfile.TemporaryDirectory() as folder:
            browser = Chromium(Path(folder))
            try:
                for picture in PICTURES:
                    (args.out / picture.name).write_bytes(taken(browser, server.told["address"], picture))
                    print(args.out / picture.name)
            finally:
                browser.close()
    finally:
        server.process.terminate()
        server.process.wait(30)


if __name__ == "__main__":
    main()
