"""Build an artifact of one file in a store, in half a second, and say whether it was reused."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from reviewlm.core.store import Store


def make(work: Path) -> dict[str, int]:
    (work / "hello").write_text("hello")
    time.sleep(0.5)
    return {}


if __name__ == "__main__":
    print(
        Store(Path(sys.argv[1]))
        .build(
            "stage",
            "1",
            {},
            {},
            make,
        )
        .reused
    )
