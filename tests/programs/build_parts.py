"""Build an artifact of twenty parts in a store, resumable, and say whether it was reused."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from reviewlm.core.store import Store

PARTS = 20


def make(work: Path) -> dict[str, int]:
    for part in range(PARTS):
        file = work / f"part{part:02d}"
        if not file.exists():
            temporary = work / f".tmp{part}"
            temporary.write_text(str(part) * 1000)
            temporary.rename(file)
            time.sleep(0.01)

    for leftover in work.glob(".tmp*"):
        leftover.unlink()
    return {"parts": PARTS}


if __name__ == "__main__":
    store = Store(Path(sys.argv[1]))
    print(
        store.build(
            "stage",
            "1",
            {},
            {},
            make,
            resumable=True,
        ).reused
    )
