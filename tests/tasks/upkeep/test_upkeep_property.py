"""What a collection keeps of random graphs of results, compared with reachability by brute force, and after kill -9."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.core.removal import Removal
from reviewlm.core.store import MANIFEST, Artifact, Store
from reviewlm.tasks.data.prepare import EARLIER
from reviewlm.tasks.records.gather import BUNDLE_SPEC
from reviewlm.tasks.upkeep.holdings import INPUT, Holdings, Key, cutoff
from tests.examples import examples

STAGES = ("read", "prepare", "vocabulary", "tokens", "fit", "score", "audit", "some other stage")
RECENT, YOUNG = (600, "recent"), (900, "young")


@dataclass
class Drawn:
    """A graph of results: their stages, which ones each was made from, last uses, and those that a version needs."""

    stages: list[str]
    edges: set[tuple[int, int]]
    used: list[int]
    roots: set[int]


@st.composite
def graphs(draw: st.DrawFn) -> Drawn:
    count = draw(st.integers(1, 12))
    stages = [draw(st.sampled_from(STAGES)) for _ in range(count)]
    pairs = [(one, other) for one in range(count) for other in range(one)]
    edges = {pair for pair in pairs if draw(st.integers(0, 3)) == 0}
    used = [draw(st.integers(1, 1_000)) for _ in range(count)]
    return Drawn(stages, edges, used, draw(st.sets(st.integers(0, count - 1), max_size=3)))


def build(drawn: Drawn, root: Path) -> list[Artifact]:
    """Store the results; a fit is named by its bundle's hash where stages do so, a vocabulary by its own digest."""
    store, made = Store(root), list[Artifact]()
    for number, stage in enumerate(drawn.stages):
        inputs = {}
        for other in sorted(other for one, other in drawn.edges if one == number):
            before = made[other]
            if before.stage == "fit":
                value = before.manifest["files"][BUNDLE_SPEC]["sha256"]
                name = (
                    f"part {other}"
                    if stage == "fit"
                    else "bundle"
                    if stage == "score"
                    else f"model {other}"
                )
                name, value = (
                    (name, value) if name not in inputs else (f"model {other}", before.digest)
                )
            elif (
                before.stage == "vocabulary"
                and stage in ("tokens", "fit")
                and "vocabulary" not in inputs
            ):
                name, value = "vocabulary", before.facts["vocabulary_digest"]
            else:
                name, value = f"input {other}", before.digest
            inputs[name] = value

        def make(
            work: Path,
            number: int = number,
            stage: str = stage,
        ) -> dict[str, str]:
            (work / "data.bin").write_bytes(bytes([number]) * 50)
            if stage == "fit":
                (work / BUNDLE_SPEC).parent.mkdir()
                (work / BUNDLE_SPEC).write_text(json.dumps({"number": number}))
            return {"vocabulary_digest": hashlib.sha256(bytes([number])).hexdigest()}

        made.append(
            store.build(
                stage,
                1,
                {"number": number},
                inputs,
                make,
            ).artifact
        )
    for artifact, last in zip(made, drawn.used, strict=True):
        os.utime(artifact.folder / MANIFEST, ns=(last, last))
    return made


def reachable(drawn: Drawn) -> set[int]:
    """Transitive closure by the algorithm of Warshall, from everything that is needed or was used recently."""
    count = len(drawn.stages)
    reach = {(one, one) for one in range(count)} | drawn.edges
    for middle, one, other in product(range(count), repeat=3):
        if (one, middle) in reach and (middle, other) in reach:
            reach.add((one, other))
    first = drawn.roots | {number for number, last in enumerate(drawn.used) if last >= 600}
    return {other for one, other in reach if one in first}


def roots_of(drawn: Drawn, made: list[Artifact]) -> dict[Key, str]:
    return {(made[number].stage, made[number].digest): "version" for number in drawn.roots}


@pytest.mark.long
@examples(120)
@given(graphs())
def test_exactly_what_is_reachable_or_recent_is_kept(drawn: Drawn) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        made, wanted = build(drawn, root), reachable(drawn)
        holdings = Holdings(root)
        kept = holdings.kept_results(roots_of(drawn, made), (RECENT, YOUNG))
        removal = Removal(root)
        for key, used in holdings.used.items():
            assert key in kept or removal.remove(root.joinpath(*key), used)
        removal.empty()
        store = Store(root)
        for number, artifact in enumerate(made):
            assert artifact.folder.is_dir() == (number in wanted)
            if number in wanted:
                store.verify(artifact)


def test_of_equal_vocabularies_only_the_one_of_the_same_data_is_an_input(tmp_path: Path) -> None:
    """Letters are the same every week: a data set must not stay because its vocabulary equals another one's."""
    store = Store(tmp_path)

    def vocabulary(clean: Artifact) -> Artifact:
        facts = {"vocabulary_digest": "abc"}
        return store.build(
            "vocabulary",
            1,
            {},
            {"clean": clean.digest},
            lambda _: facts,
        ).artifact

    old, new = (
        store.build(
            "prepare",
            1,
            {"week": week},
            {},
            lambda _: {},
        ).artifact
        for week in (1, 2)
    )
    vocabularies = vocabulary(old), vocabulary(new)
    tokens = store.build(
        "tokens",
        1,
        {},
        {"vocabulary": "abc", "clean": new.digest},
        lambda _: {},
    ).artifact
    for artifact in (old, new, *vocabularies):
        os.utime(artifact.folder / MANIFEST, ns=(1, 1))
    kept = Holdings(tmp_path).kept_results(
        {("tokens", tokens.digest): "version"}, ((2**62, "never"),)
    )
    assert kept == {
        ("tokens", tokens.digest): "version",
        ("vocabulary", vocabularies[1].digest): INPUT,
        ("prepare", new.digest): INPUT,
    }


def test_all_data_that_a_fit_has_learnt_from_stay(tmp_path: Path) -> None:
    store = Store(tmp_path)
    may, june = (
        store.build(
            "prepare",
            1,
            {"month": month},
            {},
            lambda _: {},
        ).artifact
        for month in (5, 6)
    )

    def make(work: Path) -> dict[str, str]:
        (work / "bundle").mkdir()
        (work / "bundle" / "spec.json").write_text(
            json.dumps({"learnt_from": [june.digest, may.digest]})
        )
        return {}

    fit = store.build(
        "fit",
        1,
        {},
        {"start": "0" * 64},
        make,
    ).artifact
    keys = [("prepare", june.digest), ("prepare", may.digest)]
    assert list(Holdings(tmp_path).made_from(("fit", fit.digest))) == keys


def test_the_data_that_a_warm_start_has_learnt_from_stay_with_those_compared_with_them(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    may = store.build(
        "prepare",
        1,
        {},
        {"dataset": "may"},
        lambda _: {},
    ).artifact
    past = {"dataset": "june", f"{EARLIER}{may.digest}": may.digest}
    june = store.build(
        "prepare",
        1,
        {},
        past,
        lambda _: {},
    ).artifact
    assert list(Holdings(tmp_path).made_from(("prepare", june.digest))) == [("prepare", may.digest)]


@pytest.mark.parametrize(
    ("starts", "runs", "since"),
    [([], 1, 0), ([5], 1, 5), ([5, 9, 7], 2, 7), ([5, 9, 7], 3, 5), ([5, 9, 7], 4, 0)],
)
def test_uses_count_since_the_oldest_of_the_newest_runs(
    starts: list[int],
    runs: int,
    since: int,
) -> None:
    assert cutoff(starts, runs) == since


def test_a_damaged_result_that_is_needed_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    artifact = store.build(
        "prepare",
        1,
        {},
        {},
        lambda _: {},
    ).artifact
    (artifact.folder / "manifest.json").write_text("{")
    os.utime(artifact.folder / MANIFEST, ns=(1, 1))
    key = ("prepare", artifact.digest)
    assert key in Holdings(tmp_path).kept_results({key: "version"}, ())
    assert key not in Holdings(tmp_path).kept_results({}, ())
