"""Share options, set up the configuration and run flows, for all commands.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer

from core.environment import prepare_environment, reaching_prefect
from core.errors import ReviewLMError, converted_errors, without_password
from core.processes import interrupts
from core.processes.memory import lasting_objects, limit_heaps
from core.sqlite_files import database_file
from models import options as kinds
from models.base import ModelError
from models.options import TECHNICAL, bounds_in, range_in_words
from models.sampling_options import KINDS, require_allowed
from reviewlm import terminal
from reviewlm.early_checks import require_device, require_input, require_model_files

if TYPE_CHECKING:
    from core.config.run_config import RunConfig
    from models.bundles.bundle import Bundle
    from tasks.stage import RunRecord
    from tracking.registry.version_settings import VersionSettings
    from tracking.registry.versions import Version

PRESET, SETTING, FILES = {"metavar": "PRESET"}, {"metavar": "KEY=VALUE"}, {"metavar": "FILES"}
Preset = Annotated[str, typer.Option("--preset", help="A preset of config/, or the path of a TOML file.", **PRESET)]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Override a setting: key=value. May be repeated.", **SETTING)
]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON, also on an error; text goes to standard error.")]
Input = Annotated[
    list[str] | None, typer.Option("--input", help="File, folder or glob of reviews. May be repeated.", **FILES)
]
VersionPreset = Annotated[
    str,
    typer.Option(
        "--preset", help="Preset of config/, or path of a TOML file. Default: the version's settings.", **PRESET
    ),
]
VersionInput = Annotated[
    list[str] | None,
    typer.Option(
        "--input", help="File, folder or glob of reviews. Default: those of the version. May be repeated.", **FILES
    ),
]
Rebuild = Annotated[
    list[str] | None, typer.Option("--rebuild", metavar="STAGE", help="Stage to build again. May be repeated.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", callback=terminal.show_details, help="Show a line for every stage.")
]
Open = Annotated[bool, typer.Option("--open", help="Open the report in the browser at the end.")]
Stars = Annotated[int | None, typer.Option(
    "--stars", min=0, max=5,
    help="Star rating, 0: a review without one. Default: `generate` draws it as in the training data, others average.",
)]
Result = TypeVar("Result")


def number(name: str, kind: Any, help: str) -> Any:
    """Return an option that takes one kind of number, e.g. `ShareAboveZero`: --help shows the range that is checked."""

    def callback(value: Any) -> Any:
        try:
            require_allowed(name, value, kind)
        except ModelError as error:
            raise typer.BadParameter(str(error)) from error
        return value

    bounds = {side: bound for side, bound in bounds_in(get_args(kind)[1:]) if abs(bound) < TECHNICAL}
    shown = range_in_words(**bounds)
    return typer.Option(name, callback=callback, help=f"{help} [{shown}]" if shown else help)


DrawSeed = Annotated[int, number("--seed", kinds.DrawSeed, "Seed of the random draw.")]
Number = Annotated[int, number("--n", kinds.Count, "Texts to write.")]
MaxTokens = Annotated[int, number("--max-tokens", kinds.Count, "Longest text, in tokens.")]
WordsToSuggest = Annotated[int, number("--k", kinds.Count, "Words to suggest.")]
Temperature = Annotated[float, number(
    "--temperature", KINDS["temperature"], "Below 1, likely words become likelier; 0: always the likeliest.",
)]  # fmt: skip
TopK = Annotated[int, number("--top-k", KINDS["top_k"], "Number of likeliest words to sample from; 0: all.")]
TopP = Annotated[float, number(
    "--top-p", KINDS["top_p"], "Use only the likeliest words, up to this total probability.",
)]  # fmt: skip
MinP = Annotated[float, number(
    "--min-p", KINDS["min_p"], "Use only words at least this share as likely as the likeliest; 0: all.",
)]  # fmt: skip
TypicalP = Annotated[float, number(
    "--typical-p", KINDS["typical_p"],
    "Use only the words whose surprise is nearest to the expected one, up to this total probability; 1: all.",
)]  # fmt: skip
RepetitionPenalty = Annotated[float, number(
    "--repetition-penalty", KINDS["repetition_penalty"], "Above 1, words that the text already has become less likely.",
)]  # fmt: skip
NoRepeatNgramSize = Annotated[int, number(
    "--no-repeat-ngram-size", KINDS["no_repeat_ngram_size"],
    "No sequence of this many tokens occurs twice; 0: no limit.",
)]  # fmt: skip
MODULES = {
    "ingest_only": "ingest", "promote_only": "retrain", "compare": "versions", "reproduce": "versions",
    "rescore": "drift", **dict.fromkeys(("classify", "compare_classifiers_of", "embed", "punctuate"), "other_models"),
}  # fmt: skip
"""Modules of the flows that have another name."""
WITHOUT_FITS = ("ingest_only", "embed")
"""Flows that fit no model of the configuration, and so need no files of word vectors."""
WITHOUT_TRACKING = ("ingest_only",)
"""Flows that need no MLflow."""
NeuralModel = Annotated[
    str, typer.Option("--model", help="Name of a neural model of the preset. Required if it has several.")
]
Model = Annotated[
    str, typer.Option("--model", help="Alias or number of a version, NAME of a registered model, NAME@ALIAS or NAME/3.")
]
RegisteredModel = Annotated[
    str, typer.Option("--model", help="Name of the registered model. Default: yours, or the demo's until you have one.")
]


def configured(preset: str, overrides: list[str] | None) -> RunConfig:
    """Return the configuration, and set up this process's environment for it."""
    from core.config.presets import load_config  # commands without a configuration start in half the time this way

    return set_up(load_config(preset, overrides or []))


def settings_of_versions(
    references: Sequence[str], preset: str, input: list[str] | None, overrides: list[str] | None,
    classifiers: bool = False,
) -> VersionSettings:  # fmt: skip
    """Return data and settings of a command about registered versions, and set up this process's environment for them.

    Given values win; otherwise the versions decide (`tracking/registry/version_settings.py`). *classifiers* says
    whether they are classifiers, not language models.
    """
    from tracking.registry.version_settings import settings_of, settings_of_classifiers, where_of

    set_up(where_of(preset, overrides or []))
    find = settings_of_classifiers if classifiers else settings_of
    return find(references, preset, input or [], overrides or [])


def set_up(config: RunConfig) -> RunConfig:
    """Set up this process's environment for a configuration, and return it."""
    from core.services.join import join

    prepare_environment(config.home, config.execution.group_access)
    join(config.home, config.execution.tracking_uri)
    tidy(config)
    return config


def tidy(config: RunConfig) -> None:
    """End the MLflow runs of killed processes and remove work folders that cannot be resumed."""
    from core.store import Store

    if gone := Store(config.home / "store").tidy():
        what = "an unfinished result" if len(gone) == 1 else f"{len(gone)} unfinished results"
        logging.getLogger(__name__).info("removing %s of interrupted runs; such stages start again", what)
    if any((config.home / "runs").glob("*/*/open.lock")):
        from tracking.runs.open_runs import end_left_runs  # imports MLflow only if there is a run to end

        end_left_runs(config.home)


def with_rebuild(overrides: list[str] | None, rebuild: list[str] | None) -> list[str]:
    """Return the overrides together with those of `--rebuild`."""
    again = [f"execution.rebuild={list(rebuild)!r}"] if rebuild else []
    return [*(overrides or []), *again]


def run_flow(
    name: str, preset: str, input: list[str] | None, overrides: list[str],
    check: Callable[[RunConfig], object] = lambda config: None,
    hint: str = "run the same command to resume", **arguments: Any,
) -> dict[str, Any]:  # fmt: skip
    """Check the configuration, then import and run a flow, and return its result.

    Args:
        input: Reviews.
        overrides: Settings.
        check: Raises if the configuration does not suit the flow, before a Prefect server is started for it.
        hint: Hint for the user after an interrupt.
        arguments: Further arguments of this flow.
    """
    limit_heaps()  # before the first library starts threads
    config = configured(preset, overrides).with_input(input or [])
    require_device(config, checked)
    require_input(config)
    check(config)
    if name not in WITHOUT_FITS and arguments.get("until") != "prepare":
        require_model_files(config, classifiers=name == "classify")
    if name not in WITHOUT_TRACKING:
        from tracking.client import require_whole

        require_whole(config.tracking_address)
    return _run(name, hint, config, preset, list(input or []), overrides, **arguments)


def run_version_flow(
    name: str, chosen: VersionSettings, preset: str, input: list[str] | None, overrides: list[str], **arguments: Any
) -> dict[str, Any]:
    """Run a flow about a registered version; the flow itself finds the same data and settings.

    Args:
        chosen: Data and settings that the flow will find; the caller has checked them.
        preset: As given, empty for none.
        arguments: Further arguments of this flow.
    """
    limit_heaps()  # before the first library starts threads
    require_device(chosen.config, checked)
    terminal.say(f"Data: {chosen.data}.\nSettings: {chosen.settings}.")
    hint, given = "run the same command to resume", list(input or [])
    result = _run(name, hint, chosen.config, preset, given, overrides, **arguments)
    return {**result, **chosen.told()}


def _run(name: str, hint: str, config: RunConfig, preset: str, *given: Any, **arguments: Any) -> dict[str, Any]:
    begun, clock = datetime.now(UTC), time.monotonic()
    server = without_password(os.environ.get("PREFECT_API_URL", "")).removesuffix("/api")
    waits = f"the Prefect server at {server} is used" if server else "a temporary Prefect server needs some seconds"
    logging.getLogger(__name__).info("starting; %s", waits)
    started = import_module("flows.server.private_server").private_server
    # The server needs as long to start as this process needs for its imports and for a new MLflow database.
    with interrupts.resumable(hint), reaching_prefect(), started() as wait_for_server:
        with lasting_objects():
            chosen: Callable[..., dict[str, Any]] = getattr(import_module(f"flows.{MODULES.get(name, name)}"), name)
            own_runs, client = import_module("flows.server.own_runs"), import_module("tracking.client")
        if name not in WITHOUT_TRACKING and database_file(config.tracking_address):
            with suppress(ReviewLMError):  # a run can begin without MLflow
                client.open_client(config.tracking_address)
        wait_for_server()
        own_runs.end_left_runs()
        with own_runs.ended_with_process(), import_module("tasks.stage").recorded_stages(begun) as record:
            result = chosen(preset, *given, **arguments)
    show_stages(record, time.monotonic() - clock)
    return result


def is_given(context: typer.Context, name: str) -> bool:
    """Return whether an option is on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def opened(config: RunConfig, reference: str) -> tuple[Bundle, Version]:
    """Return a registered version's bundle, and the version."""
    from tracking.registry.opening import open_version

    return open_version(config, reference)


def checked(work: Callable[[], Result]) -> Result:
    """Run a function of `models`; its errors become ReviewLMErrors, each with its exit code."""
    with converted_errors():
        return work()


def show_stages(record: RunRecord, seconds: float) -> None:
    """Write how many results were re-used, how long the run took, and each of its steps if any result was built.

    A result is what one stage made of one thing, e.g. the scores of a model.

    Args:
        seconds: From the start of the command, with the time in which libraries and servers start.
    """
    from tasks.progress import duration

    results = {(one.stage, one.label): one for one in reversed(record.stages)}
    if not results:
        return
    reused = sum(one.reused for one in results.values())
    count = f"{reused} of {len(results)} results re-used" if reused else f"{len(results)} results"
    steps = ", ".join(f"{name} {duration(took)}" for name, took in record.steps.items())
    terminal.say(f"{count}, {duration(seconds)}" + (f": {steps}" if steps and reused < len(results) else ""))
