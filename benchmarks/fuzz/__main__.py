"""Fuzz input, settings and stored files for a given time: damage may only cause errors of ReviewLM's own classes.

    python -m benchmarks.fuzz --minutes 120 --seed 1            # every case follows from the seed and its number
    python -m benchmarks.fuzz --cases 500 --target input        # one target alone
    python -m benchmarks.fuzz --again findings/input-17         # a saved finding once more; --minimise makes it smaller

Every case must meet these rules. It is read, or refused with one of our errors that can be shown. Every input record is
accounted for, and their number is correct if it is known. CPU time and memory are bounded. The same case always has the
same outcome (every tenth is run twice). A finding is saved with its files and its traceback. After the fault is fixed,
put a zip of its folder into `tests/benchmarks/fuzz_cases`, where the tests check it. The exit code is 1 if there is a
finding.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz.minimise import minimise
from benchmarks.fuzz.supervisor import Supervisor
from benchmarks.fuzz.targets import TARGETS, WEIGHTS

TWICE = 10
"""One of this number of cases is run twice."""
FINDING = "finding.txt"


@dataclass
class Tally:
    """Outcomes of the cases so far."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: dict[str, list[str]] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")

    def lines(self) -> list[str]:
        """Return the outcomes as lines of text."""
        common = [f"  {count:>8,} {name}" for name, count in sorted(self.outcomes.items())]
        found = [
            f"  {len(names)} × {key}, first {names[0]}" for key, names in self.findings.items()
        ]
        slow = f"slowest: {self.slowest[1]}, {self.slowest[0]:.1f} s of processor time"
        return [f"{self.cases:,} cases, {len(self.findings)} findings; {slow}", *common, *found]


def fuzz(
    supervisor: Supervisor,
    args: argparse.Namespace,
    out: Path,
) -> Tally:
    """Run cases until the time or the number of cases is reached."""
    tally = Tally()
    rng = Random(args.seed)
    names = args.target or list(TARGETS)
    weights = [WEIGHTS.get(name, 1) for name in names]
    end = time.monotonic() + 60 * args.minutes
    told = time.monotonic()
    while time.monotonic() < end and tally.cases < args.cases:
        target = rng.choices(names, weights)[0]
        seed = rng.randrange(2**53)
        tally.cases += 1
        times = 2 if tally.cases % TWICE == 0 else 1
        answer = supervisor.run(
            {
                "target": target,
                "seed": seed,
                "times": times,
            }
        )
        tally.slowest = max(tally.slowest, (answer.get("seconds", 0.0) / times, f"{target} {seed}"))
        if "error" in answer:
            _save(supervisor, out / f"{target}-{seed}", answer, tally)
        else:
            tally.outcomes[f"{target}: {answer['outcome']}"] += 1
        if time.monotonic() - told > 60:
            told = time.monotonic()
            say(
                f"{tally.cases:,} cases, {len(tally.findings)} findings, {(end - told) / 60:.0f} minutes left"
            )

    return tally


def _save(
    supervisor: Supervisor,
    folder: Path,
    answer: dict[str, Any],
    tally: Tally,
) -> None:
    """Save the files of the first case with a fault, and only the names of the others."""
    known = tally.findings.setdefault(answer["key"], [])
    known.append(folder.name)
    if len(known) == 1:
        say(f"finding: {answer['key']} ({folder})")
        shutil.copytree(supervisor.folder / "case", folder, dirs_exist_ok=True)
        (folder / FINDING).write_text(f"{answer['key']}\n\n{answer['error']}", encoding="utf-8")


def again(
    supervisor: Supervisor,
    finding: Path,
    smaller: bool,
) -> dict[str, Any]:
    """Run a saved case again, and minimise it if *smaller* is set."""
    target = finding.resolve().name.partition("-")[0]
    case = supervisor.folder / "given"
    unpack(finding, case)
    job = {"target": target, "case": str(case)}
    answer = supervisor.run(job)
    if smaller and "error" in answer:
        gone = minimise(case, lambda: supervisor.run(job).get("key") == answer["key"])
        smallest = finding.with_name(f"{finding.stem}-smaller")
        shutil.copytree(case, smallest, dirs_exist_ok=True)
        say(f"{gone:,} bytes fewer in {smallest}")

    return answer


def unpack(finding: Path, case: Path) -> None:
    """Write the files of a saved finding (a folder or a zip), except its traceback, into a new folder."""
    shutil.rmtree(case, ignore_errors=True)
    if finding.is_file():
        shutil.unpack_archive(finding, case)
    else:
        shutil.copytree(finding, case)
    (case / FINDING).unlink(missing_ok=True)


def say(line: str) -> None:
    """Write to standard error."""
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the fuzzer; return 1 if there is a finding."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument(
        "--cases",
        type=int,
        default=2**62,
        help="stop after this many",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--target",
        action="append",
        choices=list(TARGETS),
        help="only this; may be repeated",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("findings"),
        help="where findings are saved",
    )
    parser.add_argument("--again", type=Path, help="do a saved finding once more")
    parser.add_argument(
        "--minimise", action="store_true", help="with --again: make its files smaller"
    )
    args = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="fuzz-") as folder,
        Supervisor(Path(folder)) as supervisor,
    ):
        if args.again:
            answer = again(supervisor, args.again, args.minimise)
            print(json.dumps(answer, indent=1))
            return int("error" in answer)
        tally = fuzz(supervisor, args, args.out)

    print("\n".join(tally.lines()))
    return int(bool(tally.findings))


if __name__ == "__main__":
    sys.exit(main())
