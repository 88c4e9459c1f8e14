"""Promote versions, one after another, each against the champion of that moment: ADDRESS HOME VERSION ….

Say "ready", wait for a line, then say of each promotion the version and the former champion (0: none).
"""

from __future__ import annotations

import sys
from pathlib import Path

from reviewlm.tracking.registry.logged_decisions import ChampionChanged
from reviewlm.tracking.registry.registry import Registry
from reviewlm.tracking.runs.runs import Tracker

TAGS = {"gate/outcome": "promoted", "gate/reason": "better"}


def promote(registry: Registry, version: int) -> int:
    """Promote a version until it takes the place of the champion, and return that one's number."""
    while True:
        champion = registry.alias("champion")
        against = champion.version if champion else None
        try:
            registry.settle(
                version,
                against,
                True,
                "**yes**",
                TAGS,
            )
        except ChampionChanged:
            continue
        return against or 0


def main(address: str, home: str, *versions: str) -> None:
    registry = Registry(Tracker(address, "reviewlm", Path(home) / "mlartifacts"), "reviewlm")
    print("ready", flush=True)
    sys.stdin.readline()
    for version in map(int, versions):
        print(version, promote(registry, version), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
