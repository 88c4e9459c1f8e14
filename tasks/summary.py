"""What a flow gives back to a person or a program: plain dictionaries for the command line's JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from reviewlm.config import RunConfig
from reviewlm.store import Artifact
from tasks.compare import Evaluated
from tasks.evaluate import Measured
from tasks.fit import Fitted
from tasks.prepare import Prepared
from tasks.promote import Promotion
from tasks.stage import flat, stages_of_this_run

FLOOR_STATEMENT = (
    "The exact cost of these test reviews to the grammar that wrote them: no model can need less on average."
)
TEST_FIGURES = (
    "perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "open_bits_per_byte", "bits_per_character",
    "tokens", "bytes", "words", "oov", "impossible", "nats", "reviews", "hit@1", "hit@3", "hit@5",
)


@dataclass(frozen=True)
class Summary:
    """A finished run of the pipeline."""

    models: list[dict[str, Any]]
    floor: dict[str, Any] | None
    challenger: str
    champion_version: int | None
    version: int | None
    promoted: bool
    reason: str
    reused: list[str]
    stages: int
    mlflow_run_id: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)


def summarise(config: RunConfig, evaluated: Evaluated, promotion: Promotion, run_id: str) -> Summary:
    """Return the summary of a whole run."""
    stages = stages_of_this_run()
    return Summary(
        models=[_model(model) for model in evaluated.models],
        floor=_floor(evaluated),
        challenger=promotion.challenger,
        champion_version=promotion.champion_version,
        version=promotion.version,
        promoted=promotion.decision.promote,
        reason=promotion.decision.reason,
        reused=sorted({stage for stage, reused in stages if reused and (stage, False) not in stages}),
        stages=len({stage for stage, _ in stages}),
        mlflow_run_id=run_id,
    )


def describe_evaluated(evaluated: Evaluated, run_id: str) -> dict[str, Any]:
    """Return the table of models and the floor."""
    models = [_model(model) for model in evaluated.models]
    return {"models": models, "floor": _floor(evaluated), "mlflow_run_id": run_id}


def describe_dataset(dataset: Artifact) -> dict[str, Any]:
    """Return what ingestion came to."""
    return {**dataset.facts, "digest": dataset.digest, "folder": dataset.path}


def describe_drift(artifact: Artifact | None) -> dict[str, Any]:
    """Return the verdict on new reviews; `compared` is false where there was nothing to compare with."""
    if artifact is None:
        return {"compared": False, "drifted": [], "sentence": "nothing to compare: see the log"}
    return {"compared": True, **artifact.facts, "digest": artifact.digest, "folder": artifact.path}


def describe_prepared(prepared: Prepared) -> dict[str, Any]:
    """Return the sizes of the splits and of every token stream."""
    streams = {
        f"{name}_{split}_tokens": stream.facts["tokens"]
        for name, splits in prepared.tokens.items()
        for split, stream in splits.items()
    }
    return {**flat(prepared.clean.facts), **streams, "digest": prepared.clean.digest}


def describe_fitted(fitted: list[Fitted], run_id: str) -> dict[str, Any]:
    """Return the fitted models with their digests."""
    models = [
        {"name": model.spec.name, "kind": model.spec.kind, "digest": model.artifact.digest, "reused": model.reused,
         **model.artifact.facts["summary"]}
        for model in fitted
    ]
    return {"models": models, "mlflow_run_id": run_id, **{model.spec.name: model.artifact.digest for model in fitted}}


def _model(model: Measured) -> dict[str, Any]:
    facts = model.test.facts
    return {
        "name": model.name, "kind": model.fitted.spec.kind, "unit": facts["unit"],
        "adaptation": facts["adaptation"], "mlflow_run_id": model.fitted.run_id,
        "test": {name: facts[name] for name in TEST_FIGURES if name in facts},
        "validation": {name: model.validation.facts[name] for name in ("perplexity", "open_bits_per_byte")},
    }


def _floor(evaluated: Evaluated) -> dict[str, Any] | None:
    return {**evaluated.floor, "statement": FLOOR_STATEMENT} if evaluated.floor else None
