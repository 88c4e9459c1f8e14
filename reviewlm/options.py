"""Define the options that commands share, and set up the configuration of a command."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer

from reviewlm import shell_words, terminal
from reviewlm.core.environment import prepare_environment
from reviewlm.core.errors import ConfigError, converted_errors
from reviewlm.core.processes.interrupts import during
from reviewlm.models import options as kinds
from reviewlm.models.base import ModelError
from reviewlm.models.options import MOST_WHOLE, bounds_in, range_in_words
from reviewlm.models.sampling_options import KINDS, require_allowed

if TYPE_CHECKING:
    from reviewlm.core.config.run_config import RunConfig
    from reviewlm.core.workspace import Workspace
    from reviewlm.tracking.registry.versions import Version

PRESET = {"metavar": "PRESET"}
SETTING = {"metavar": "KEY=VALUE"}
FILES = {"metavar": "FILES"}
Preset = Annotated[
    str,
    typer.Option(
        "--preset",
        help="A preset of config/, or the path of a TOML file.",
        autocompletion=shell_words.presets,
        **PRESET,
    ),
]
NamingPreset = Annotated[
    str,
    typer.Option(
        "--preset",
        help="Preset that names the registered model and the home; a model keeps its own settings.",
        autocompletion=shell_words.presets,
        **PRESET,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting: key=value. May be repeated.", **SETTING),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print only JSON, also on an error; progress and warnings go to standard error.",
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option("--input", help="File, folder or glob of reviews. May be repeated.", **FILES),
]
VersionPreset = Annotated[
    str,
    typer.Option(
        "--preset",
        help="Preset of config/, or path of a TOML file. Default: the version's settings.",
        autocompletion=shell_words.presets,
        **PRESET,
    ),
]
VersionInput = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="File, folder or glob of reviews. Default: those of the version. May be repeated.",
        **FILES,
    ),
]
Rebuild = Annotated[
    list[str] | None,
    typer.Option("--rebuild", metavar="STAGE", help="Stage to build again. May be repeated."),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", callback=terminal.show_details, help="Show a line for every stage."),
]
Stars = Annotated[
    int | None,
    typer.Option(
        "--stars",
        min=0,
        max=5,
        help="Star rating, 0: a review without one. Default: `generate` draws it as in the training data, other commands "
        "average over all.",
    ),
]
Result = TypeVar("Result")


def number(
    name: str,
    kind: Any,
    help: str,
) -> Any:
    """Return an option that takes one kind of number, e.g. `ShareAboveZero`: --help shows the range that is checked."""

    def callback(value: Any) -> Any:
        try:
            require_allowed(name, value, kind)
        except ModelError as error:
            raise typer.BadParameter(str(error)) from error
        return value

    bounds = {}
    for side, bound in bounds_in(get_args(kind)[1:]):
        if abs(bound) < MOST_WHOLE:
            bounds[side] = bound

    shown = range_in_words(**bounds)
    return typer.Option(name, callback=callback, help=f"{help} [{shown}]" if shown else help)


DrawSeed = Annotated[int, number("--seed", kinds.DrawSeed, "Seed of the random draw.")]
Number = Annotated[int, number("--n", kinds.Count, "Texts to write.")]
MaxTokens = Annotated[int, number("--max-tokens", kinds.Count, "Longest text, in tokens.")]
WordsToSuggest = Annotated[int, number("--k", kinds.Count, "Words to suggest.")]
Temperature = Annotated[
    float,
    number(
        "--temperature",
        KINDS["temperature"],
        "Below 1, likely words become likelier; 0: always the likeliest.",
    ),
]
TopK = Annotated[
    int, number("--top-k", KINDS["top_k"], "Number of likeliest words to sample from; 0: all.")
]
TopP = Annotated[
    float,
    number(
        "--top-p",
        KINDS["top_p"],
        "Use only the likeliest words, up to this total probability.",
    ),
]
MinP = Annotated[
    float,
    number(
        "--min-p",
        KINDS["min_p"],
        "Use only words at least this share as likely as the likeliest; 0: all.",
    ),
]
TypicalP = Annotated[
    float,
    number(
        "--typical-p",
        KINDS["typical_p"],
        "Use only the words whose surprise is nearest to the expected one, up to this total probability; 1: all.",
    ),
]
RepetitionPenalty = Annotated[
    float,
    number(
        "--repetition-penalty",
        KINDS["repetition_penalty"],
        "Above 1, words that the text already has become less likely.",
    ),
]
NoRepeatNgramSize = Annotated[
    int,
    number(
        "--no-repeat-ngram-size",
        KINDS["no_repeat_ngram_size"],
        "No sequence of this many tokens occurs twice; 0: no limit.",
    ),
]
NeuralModel = Annotated[
    str,
    typer.Option(
        "--model", help="Name of a neural model of the preset. Required if it has several."
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        help="Alias or number of a version, NAME of a registered model, NAME@ALIAS, NAME/3; another model of the "
        "champion's run, such as kn5; NAME/3/kn5.",
        autocompletion=shell_words.models,
    ),
]
RegisteredModel = Annotated[
    str,
    typer.Option(
        "--model",
        help="Name of the registered model. Default: yours, or the demo's until you have one.",
        autocompletion=shell_words.registered_models,
    ),
]


def configure(
    preset: str,
    overrides: list[str] | None,
    create: bool = True,
) -> RunConfig:
    """Return the configuration, and set up this process's environment for it; see `set_up`."""
    return set_up(load_configuration(preset, overrides), create)


def load_configuration(preset: str, overrides: list[str] | None) -> RunConfig:
    """Return the configuration alone, for commands that write nothing into its home folder."""
    # Commands without a configuration start in half the time this way.
    from reviewlm.core.config.presets import load_config

    return load_config(preset, overrides or [])


def set_up(config: RunConfig, create: bool = True) -> RunConfig:
    """Set up this process's environment for a configuration, and return it.

    Args:
        config: The configuration.
        create: Create its home folder if it is missing; commands that only read a home do not.
    """
    from reviewlm.core.services.join import join

    prepare_environment(config.home, config.execution.group_access, create)
    require_known_format(config.home)
    join(config.home, config.execution.tracking_uri)
    tidy(config.home)
    return config


def require_known_format(home: Path) -> None:
    """Refuse a home that another version of ReviewLM has made."""
    from reviewlm.core.home_format import is_unknown, require_format

    require_format(home)
    if is_unknown(home):
        from reviewlm.tracking.home_examination import require_current_home

        require_current_home(home)


def tidy(home: Path) -> None:
    """End the MLflow runs of killed processes and remove work folders that cannot be resumed."""
    from reviewlm.core.store import Store

    if gone := Store(home / "store").tidy():
        what = "an unfinished result"
        if len(gone) != 1:
            what = f"{len(gone)} unfinished results"

        logging.getLogger(__name__).info(
            "removing %s of interrupted runs; such stages start again", what
        )

    if any((home / "runs").glob("*/*/open.lock")):
        # Imports MLflow only if there is a run to end.
        from reviewlm.tracking.runs.runs import end_left_runs

        end_left_runs(home)


def is_given(context: typer.Context, name: str) -> bool:
    """Return whether an option is on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def is_folder(model: str) -> bool:
    """Return whether a reference is the path of a folder: of one that exists, or no version such as NAME/3, 3/gru."""
    before, _, after = model.partition("/")
    version = (
        "@" in model or model.startswith("models:/") or after[:1].isdigit() or before.isdigit()
    )
    return "\\" in model or ("/" in model and (Path(model).is_dir() or not version))


def open_registered(
    workspace: Workspace,
    model_name: str,
    reference: str,
) -> tuple[Any, Version]:
    """Return a registered version's bundle, and the version; errors and references as in `open_version`."""
    if is_folder(reference):
        raise ConfigError(
            "A command takes a registered version, not a folder",
            value=reference,
            remedy="open a bundle's folder in Python: reviewlm.load(FOLDER)",
        )

    with during("opening the model"):
        from reviewlm.tracking.registry.opening import open_version

        return open_version(workspace, model_name, reference)


def run_checked(work: Callable[[], Result]) -> Result:
    """Run a function of `models`; its errors become ReviewLMErrors, each with its exit code."""
    with converted_errors():
        return work()
