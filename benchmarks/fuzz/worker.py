"""Run cases in a separate process, so that a crash or a hang of a library does not end the fuzzing.

Reads one job per line ({"target", "seed", "folder"} or {"target", "case", "folder"}) and answers each with one line:
`outcome`, or the `error` with its traceback and a `key` that is equal for equal faults.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import psutil

from benchmarks.fuzz.targets import make_case, outcome

MEMORY = 4 << 30
"""Most bytes of address space of a case, in addition to that of the loaded libraries."""
ROOT = Path(__file__).resolve().parent.parent.parent
OWN = ("corpus", "models", "training", "reviewlm", "tasks", "evaluation", "benchmarks")


def main() -> None:
    """Answer jobs until there are no more."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output that a library prints must not be taken for an answer
    limit = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for line in sys.stdin:
        answers.write(json.dumps(do(json.loads(line))) + "\n")
        answers.flush()


def do(job: dict[str, Any]) -> dict[str, Any]:
    """Make the case of a seed, or use the given case, and check it as many times as the job requires."""
    folder = Path(job["folder"])
    case = Path(job.get("case") or folder / "case")
    try:
        if "seed" in job:
            make_case(job["target"], job["seed"], case)
        found = [outcome(job["target"], case, folder / "work") for _ in range(job.get("times", 1))]
        assert len(set(found)) == 1, f"not the same again: {found}"
        return {"outcome": " ".join(found[0].split()[: 2 if found[0].startswith("refused") else 1])}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of a Rust library is not an Exception
        return {"error": "".join(traceback.format_exception(error)), "key": key_of(error)}


def key_of(error: BaseException) -> str:
    """Return the class of an error and the innermost place in our code, so that equal faults have equal keys."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)
    ]
    where = (
        f"{Path(frames[-1].filename).relative_to(ROOT)}:{frames[-1].name}" if frames else "outside"
    )
    return f"{type(error).__name__} in {where}"


def _is_ours(name: str) -> bool:
    path = Path(name)
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in OWN


if __name__ == "__main__":
    main()
