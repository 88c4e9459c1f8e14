"""Compare two models on the same test reviews, or reproduce a registered version and compare it byte by byte."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.section import NotNegative
from reviewlm.core.environment import other_home
from reviewlm.core.lineage import conclude
from reviewlm.core.provenance import differences, made_with
from reviewlm.core.store import Store
from reviewlm.flows.parts import prepare, recorded_or_read
from reviewlm.flows.server.parameters import Inputs, Overrides, Preset, PresetOrNone, Reference
from reviewlm.tasks.evaluation.compare_two import compare_two, write_markdown
from reviewlm.tasks.execution.stage import describe_flow_run
from reviewlm.tasks.fitting.fit_process import interruptible_fits
from reviewlm.tasks.records.gather import (
    earlier_reviews,
    find_sources,
    recorded_version,
    starting_weights,
)
from reviewlm.tasks.records.reproduce import Reproduction, make_again, show_verdict, steps_again
from reviewlm.tasks.records.track import COMPARISON, parent_run, settings_of_compared, tracker_of
from reviewlm.tasks.upkeep.forget import hand_list_on


@flow(name="compare", persist_result=False)
def compare(
    preset: PresetOrNone = "",
    input: Inputs = None,
    overrides: Overrides = None,
    first: Reference = "previous",
    second: Reference = "champion",
) -> dict[str, Any]:
    """Compare two models on the same test reviews.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the settings of the newer version.
        input: Files, folders or globs of reviews. None: the data of the newer version.
        overrides: Settings as `key=value`.
        first: Number or alias of a registered version, or the name of a model of this configuration.
        second: The other model, in the same form.
    """
    chosen = settings_of_compared((first, second), preset, input or [], overrides or [])
    config = chosen.config
    with parent_run(config, f"compare {first} {second}", outcome=COMPARISON) as run_id:
        prepared = prepare(config, recorded_or_read(chosen), of=chosen.clean)
        pair = compare_two(
            config,
            prepared,
            first,
            second,
            run_id,
        )
        markdown = write_markdown(pair, config.home / "comparisons")
        return {
            **pair.to_dict(),
            "mlflow_run_id": run_id,
            "mlflow_page": tracker_of(config.workspace).link(run_id),
            "markdown": str(markdown),
        }


@flow(name="reproduce", persist_result=False)
def reproduce(
    preset: Preset = "small",
    input: Inputs = None,
    overrides: Overrides = None,
    version: Reference = "champion",
    home: str = "",
    tolerance: NotNegative = 0.01,
) -> dict[str, Any]:
    """Reproduce a registered version and report whether it is the same; register and promote nothing.

    Args:
        preset: Names the registry. The version is built with the settings in its own record.
        input: Where to look for raw files that were moved. They are recognised by their SHA-256.
        overrides: Settings as `key=value`.
        version: An alias, a number, or a `models:/…` address.
        home: Folder that keeps the artifacts; it must not contain a store. Empty: a temporary folder.
        tolerance: Allowed relative difference of figures if the machine or the libraries have changed.

    Raises:
        BundleError: There is no such version, or the weights that it started from are gone.
        ArtifactError: The reviews that these weights had learnt from are gone.
        Unreadable: A raw file has changed or is gone.
        Damaged: The record was changed.
    """
    config = load_config(preset, overrides or [])
    describe_flow_run(config.title, config.preset, config.source)
    record, entry = recorded_version(config.workspace, config.promotion, version)
    config = config.asking(entry.version.name)
    bundle = entry.folder
    number = entry.version.version
    platform = differences(record.step(record.fit).environment, made_with())
    start = (
        starting_weights(config.workspace, config.promotion, record),
        earlier_reviews(config.home, record),
    )
    again = Reproduction(
        record, find_sources(record, Store.of(config.home).root, input or []), bundle, *start
    )
    with _fresh_home(home) as folder, other_home(folder), interruptible_fits():
        hand_list_on(config.home, folder)
        compared = steps_again(again, lambda step: make_again(again, step), platform)

    verdict = conclude(record, compared, platform, tolerance)
    show_verdict(verdict)
    return {"version": number, **verdict}


@contextmanager
def _fresh_home(home: str) -> Iterator[Path]:
    """Yield a folder without a store: artifacts of an existing store would be reused instead of built again."""
    if not home:
        with tempfile.TemporaryDirectory(prefix="reviewlm-reproduce-") as temporary:
            yield Path(temporary)
        return
    folder = Path(home).absolute()
    Store.require_new(folder)
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
