"""A chain of hand-made stages in a store: a raw file, what was read of it, tokens, two fits, one score."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reviewlm.core.lineage import Lineage, RecordedSource, Step, step_of
from reviewlm.core.store import Artifact, Store, sha256_of


def build(
    store: Store,
    stage: str,
    inputs: Mapping[str, str],
    files: Mapping[str, str],
    **facts: Any,
) -> Artifact:
    """Build an artifact of the given files' texts."""

    def make(work: Path) -> dict[str, Any]:
        for name, text in files.items():
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            (work / name).write_text(text)
        return facts

    environment = {"git_commit": "c0ffee1234", "execution": {"threads": 1}}
    return store.build(
        stage,
        1,
        {"of": stage},
        inputs,
        make,
        environment=environment,
    ).artifact


def made_lineage(
    home: Path,
    weights: str = "1 2 3",
    raw: str = "The food was great.\n",
) -> tuple[Lineage, Path]:
    """Return a record, and the folder of the version's bundle; raw file and store lie in *home*."""
    home.mkdir(parents=True, exist_ok=True)
    store, file = Store(home / "store"), home / "reviews.jsonl"
    file.write_text(raw)
    source = RecordedSource(
        "file",
        file.name,
        sha256_of(file),
        file.stat().st_size,
        str(file),
    )
    read = build(
        store,
        "read",
        {"file": source.sha256},
        {"parts/0": raw},
        name=file.name,
    )
    tokens = build(
        store,
        "tokens",
        {"clean": read.digest},
        {"ids.bin": raw[::2]},
        name="train",
    )
    fit = build(
        store,
        "fit",
        {"train": tokens.digest},
        {
            "bundle/spec.json": "{}",
            "bundle/weights": weights,
            "metrics.jsonl": str(home),
        },
        name="lstm",
    )
    bundle = fit.manifest["files"]["bundle/spec.json"]["sha256"]
    score = build(
        store,
        "score",
        {"bundle": bundle, "tokens": tokens.digest},
        {"scores": weights},
        bits_per_byte=1.25,
    )
    made_by: list[tuple[Any, dict[str, str]]] = [
        (read, {}),
        (tokens, {"clean": f"read/{read.digest}"}),
        (fit, {"train": f"tokens/{tokens.digest}"}),
        (score, {"bundle": f"fit/{fit.digest}", "tokens": f"tokens/{tokens.digest}"}),
    ]
    steps = [
        step_of(
            one.stage,
            one.digest,
            one.manifest,
            made,
            one.facts,
        )
        for one, made in made_by
    ]
    configuration = {"seed": 1, "execution": {"home": str(home)}}
    record = Lineage(
        "lstm",
        "lstm",
        bundle,
        f"fit/{fit.digest}",
        configuration,
        (source,),
        tuple(steps),
    )
    return record, fit.folder / "bundle"


def step_named(record: Lineage, stage: str) -> Step:
    """Return the one step of a stage."""
    [step] = [step for step in record.steps if step.stage == stage]
    return step
