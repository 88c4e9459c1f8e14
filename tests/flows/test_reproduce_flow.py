"""A version of the real stages, registered with its lineage, verified, and made again: as it was, and otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.environment import other_home
from reviewlm.core.errors import ConfigError, Damaged
from reviewlm.core.lineage import LINEAGE_TAG, Lineage
from reviewlm.core.store import Artifact

pytestmark = [pytest.mark.slow, pytest.mark.long]
PRESET = str(Path(__file__).with_name("reproduced.toml"))


@dataclass
class Registered:
    """A home folder with one registered version, a mixture, and its record."""

    home: Path
    config: RunConfig
    record: Lineage
    bundle: Path


@pytest.fixture(scope="module")
def registered(
    tmp_path_factory: pytest.TempPathFactory, template_home: Path
) -> Iterator[Registered]:
    from reviewlm.core.config.presets import load_config
    from reviewlm.tasks.records.gather import recorded_version

    home = Path(shutil.copytree(template_home, tmp_path_factory.mktemp("reproduced") / "home"))
    vectors = home.parent / "vectors.txt"
    vectors.write_text(
        "".join(
            f"{word} {' '.join(str(place + 1) for place in range(8))}\n" for word in ("the", "was")
        )
    )
    with other_home(home):
        config = load_config(PRESET, [f"vectors.small={vectors}", "models.lstm.vectors=small"])
        register_mixture(config)
        record, entry = recorded_version(config.workspace, config.promotion, "challenger")
        assert entry.version.version == 1
        yield Registered(home, config, record, entry.folder)


def register_mixture(config: RunConfig) -> None:
    """The stages of a run that a version is made of, without checks, comparison and gate."""
    from reviewlm.corpus.splitting.split import TRAIN_FIRST
    from reviewlm.tasks.data.ingest import ingest_files, synthesise
    from reviewlm.tasks.data.prepare import (
        VOCABULARY_FILE,
        Prepared,
        choose,
        clean_and_split,
        tokenize,
        train_vocabulary,
    )
    from reviewlm.tasks.evaluation.evaluate import draw_samples, score_bundle
    from reviewlm.tasks.fitting.fit import fit
    from reviewlm.tasks.records.gather import keep_lineage
    from reviewlm.tasks.records.track import parent_run, registry_of, tracker_of

    def dataset_of(config: RunConfig) -> Artifact:
        return ingest_files.fn(config, synthesise.fn(config.workspace, config.source.synthetic))

    synthetic = config.source.synthetic.model_copy(update={"seed": 9})
    other = config.model_copy(
        update={"source": config.source.model_copy(update={"synthetic": synthetic})}
    )
    # As with start weights that have learnt from other reviews.
    earlier = clean_and_split.fn(other, dataset_of(other))
    clean = clean_and_split.fn(config, dataset_of(config), [earlier])
    workspace = config.workspace
    vocabulary = train_vocabulary.fn(
        workspace,
        "word",
        config.vocabulary["word"],
        config.clean,
        clean,
    )
    file = str(vocabulary.folder / VOCABULARY_FILE)
    planted = {"train": choose.fn(workspace, config.audit, clean)}
    tokens = {
        split: tokenize.fn(
            workspace,
            file,
            split,
            clean,
            "word",
            planted.get(split),
        )
        for split in TRAIN_FIRST
    }
    prepared = Prepared(clean, clean, {"word": vocabulary}, {"word": tokens})
    with parent_run(config, "retrain") as run_id:
        fitted: dict[str, Any] = {}
        for spec in config.models:
            parts = {name: fitted[name] for name in getattr(spec, "parts", ())}
            fitted[spec.name] = fit.fn(
                config,
                spec,
                prepared,
                run_id,
                parts,
            )
        mix = fitted["mix"]
        test, validation = (
            score_bundle(
                config.workspace,
                config.evaluation,
                mix.bundle,
                tokens[split],
                split,
            ).artifact
            for split in ("test", "validation")
        )
        samples = draw_samples(config.workspace, config.evaluation, mix.bundle, "mix").artifact
        measured = [test, validation, samples]
        uri = tracker_of(config.workspace).tag(mix.run_id, "reviewlm.model_uri")
        root = keep_lineage(config, uri, mix.artifact, measured)
        registry_of(config.workspace, config.promotion.model_name).register(
            uri, mix.run_id, {LINEAGE_TAG: root}
        )
        assert keep_lineage(config, uri, mix.artifact, measured) == root


def again(
    registered: Registered,
    record: Lineage,
    home: Path,
) -> dict[str, Any]:
    """Make a record again without Prefect."""
    from reviewlm.core.lineage import conclude
    from reviewlm.tasks.records.gather import earlier_reviews, find_sources
    from reviewlm.tasks.records.reproduce import Reproduction, steps_again

    with other_home(registered.home):
        earlier = earlier_reviews(registered.config.home, record)
    found = find_sources(record, registered.home / "store")
    reproduction = Reproduction(record, found, registered.bundle, earlier=earlier)
    with other_home(home):
        compared = steps_again(reproduction, reproduction.make, [])
    return conclude(record, compared, [], 0.01)


def test_the_record_has_every_stage_from_the_grammar_to_the_scores(registered: Registered) -> None:
    stages = [step.stage for step in registered.record.steps]
    assert {stage: stages.count(stage) for stage in stages} == {
        "synthesise": 1,
        "read": 1,
        "ingest": 1,
        "prepare": 1,
        "canaries": 1,
        "vocabulary": 1,
        "tokens": 3,
        "vectors": 1,
        "fit": 3,
        "score": 2,
        "samples": 1,
    }


def test_the_record_has_the_sources_that_no_stage_makes(registered: Registered) -> None:
    """The embedded corpus is made by a stage, of its options and seed."""
    vectors, earlier = sorted(
        registered.record.sources, key=lambda source: source.kind == "reviews"
    )
    assert (vectors.kind, Path(vectors.path).name) == ("vectors", "vectors.txt")
    assert (earlier.kind, len(earlier.sha256)) == ("reviews", 16)


def test_the_record_has_the_configuration(registered: Registered) -> None:
    expected = registered.config.model_dump(mode="json", by_alias=True)
    assert registered.record.configuration == expected


def test_the_record_has_the_environment_of_the_fit(registered: Registered) -> None:
    fit = registered.record.step(registered.record.fit)
    assert (fit.facts["name"], fit.environment["execution"]["threads"]) == ("mix", 1)
    assert {"torch", "polars"} <= fit.environment["libraries"].keys()


def test_made_again_in_another_folder_every_byte_is_equal(
    registered: Registered, tmp_path: Path
) -> None:
    before = sorted(registered.home.glob("store/*/*"))
    result = again(registered, registered.record, tmp_path)
    assert result["verdict"] == "bit-equal", result["first_difference"]
    assert [step["equal"] for step in result["steps"]] == [True] * len(registered.record.steps)
    assert {row["split"] for row in result["figures"]} == {"test", "validation"}
    assert all(row["then"] == row["now"] for row in result["figures"])
    assert sorted(registered.home.glob("store/*/*")) == before
    then, now = (
        {file.read_bytes() for file in home.glob("store/fit/*/bundle/spec.json")}
        for home in (registered.home, tmp_path)
    )
    assert then == now
    assert len(now) == 3


@pytest.fixture(scope="module")
def made_again(
    prefect_server: None,
    registered: Registered,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[str, dict[str, Any]]:
    """The home in which the flow made the version again, and what it returned."""
    from reviewlm.flows.versions import reproduce

    home = str(tmp_path_factory.mktemp("reproduced") / "again")
    with other_home(registered.home):
        return home, reproduce(PRESET, version="challenger", home=home)


def test_the_flow_makes_the_version_again(made_again: tuple[str, dict[str, Any]]) -> None:
    _, result = made_again
    assert (result["version"], result["verdict"]) == (1, "bit-equal")
    assert (result["platform"], result["same_code"]) == ([], True)


@pytest.mark.usefixtures("made_again")
def test_the_flow_registers_nothing(registered: Registered) -> None:
    from reviewlm.tasks.records.track import registry_of

    config = registered.config
    with other_home(registered.home):
        registry = registry_of(config.workspace, config.promotion.model_name)
        assert [version.version for version in registry.versions()] == [1]


def test_the_flow_refuses_a_home_that_exists(
    made_again: tuple[str, dict[str, Any]], registered: Registered
) -> None:
    from reviewlm.flows.versions import reproduce

    with other_home(registered.home), pytest.raises(ConfigError, match="must be a new one"):
        reproduce(PRESET, version="challenger", home=made_again[0])


def test_a_changed_tag_is_found_before_anything_is_made(registered: Registered) -> None:
    from reviewlm.tasks.records.gather import recorded_version
    from reviewlm.tasks.records.track import registry_of
    from reviewlm.tracking.tags import PACKED, pack_tags, unpack_tags

    registry = registry_of(registered.config.workspace, registered.config.promotion.model_name)
    with registry.tracker.reaching() as client:
        stored = client.get_model_version(registry.name, "1").tags
        changed = pack_tags({**unpack_tags(stored), LINEAGE_TAG: "another"})
        client.set_model_version_tag(registry.name, "1", PACKED, changed[PACKED])
        try:
            with pytest.raises(Damaged, match="differs from the one that it was registered with"):
                recorded_version(registered.config.workspace, registered.config.promotion, "1")
        finally:
            client.set_model_version_tag(registry.name, "1", PACKED, stored[PACKED])
