"""One fit in a process of its own: `python -m tasks.fit_worker JOB.json`.

A process per fit keeps its threads and memory to itself, lets several fits use several cores, and turns a kill by the
operating system into an error with a sentence instead of the end of the whole flow. News go to standard output as JSON
lines: {"step", "total", "figures"}, then {"summary"} or {"error", "kind"}.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from models.base import FitContext, ModelError, Progress
from models.bundle import save_bundle
from models.specs import model_class, spec_from_dict
from models.streams import TokenStream, stars_prior
from models.vocabulary import Vocabulary

PROBES = (
    ("The food was great and the staff were very friendly.", 5),
    ("It was okay, but I would not go back.", 3),
    ("We waited an hour and the server was rude!", 1),
)
log = logging.getLogger(__name__)


def run(job: dict[str, Any]) -> dict[str, float]:
    """Fit the model of a job, save its bundle in the job's work folder, and return the fit's summary."""
    spec = spec_from_dict(job["spec"])
    vocabulary = Vocabulary.load(Path(job["vocabulary"]))
    train, validation = (TokenStream.open(Path(job[split])) for split in ("train", "validation"))
    context = FitContext(Path(job["work"]), device=job["device"], threads=job["threads"], report=_report)
    result = model_class(spec.kind).fit(spec, vocabulary, train, validation, context)
    # No figure that differs from run to run: equal fits give equal bundles.
    facts = {**job["facts"], "stars_prior": stars_prior(train)}
    save_bundle(Path(job["bundle"]), spec, vocabulary, result.model, PROBES, facts)
    return dict(result.summary)


def _report(news: Progress) -> None:
    _say({"step": news.step, "total": news.total, "figures": dict(news.figures)})


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run the job named on the command line; the exit code is 0, or 6 with the error as the last line."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        _say({"summary": run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))})
    except ModelError as error:
        _say({"error": str(error), "kind": error.kind})
        return 6
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
