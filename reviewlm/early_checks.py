"""Check the devices, files and versions that a command names, before any work.

No check starts a server or a framework.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.environment import chosen_device
from core.errors import ConfigError, EmptyInput, ReviewLMError, Unreadable

if TYPE_CHECKING:
    from core.config.run_config import RunConfig
    from tracking.registry.version_settings import VersionSettings


def require_device(config: RunConfig, checked: Callable[[Callable[[], None]], None]) -> None:
    """Refuse a GPU that is requested but missing.

    torch, whose import takes a second, is asked only in case of doubt.

    Args:
        config: The configuration; its `execution.device` is checked.
        checked: Turns errors of `models` into ReviewLMErrors.

    Raises:
        ConfigError: There is no GPU.
    """
    if config.execution.device != "cuda" or chosen_device("auto") == "cuda":
        return

    def ask() -> None:
        from models.neural.device import require_device as ask_torch

        ask_torch("cuda")

    try:
        checked(ask)
    except ReviewLMError as error:
        raise ConfigError(
            "The requested GPU is not available", where="execution.device", value="cuda", cause=error.what,
            remedy="--set execution.device=auto uses a GPU if there is one, otherwise the processor",
        ) from error


def require_input(config: RunConfig) -> None:
    """Refuse input files that do not exist, or whose first records show that they cannot be used.

    Raises:
        Unreadable: A path does not exist, a pattern matches nothing, or a file is in no known format.
        EmptyInput: A folder holds no reviews, or the files hold no usable record.
        MissingColumn: A file has no text.
    """
    if config.source.input:
        from corpus.ingestion.quarantine import require_usable

        require_usable(config.source.input, config.source)
    if config.source.business:
        require_file(Path(config.source.business), "source.business")


def require_model_files(config: RunConfig, classifiers: bool = False) -> None:
    """Refuse files of word vectors that do not exist, before a command that fits models which need them.

    Args:
        classifiers: The command also fits its classifiers.

    Raises:
        Unreadable: A file does not exist.
    """
    for spec in (*config.models, *(config.classification.models if classifiers else ())):
        if name := getattr(spec, "vectors", ""):
            require_file(Path(config.vectors[name]), f"vectors.{name}")


def require_file(path: Path, where: str) -> None:
    """Refuse a file or folder that does not exist.

    Raises:
        Unreadable: It does not exist.
    """
    if not path.exists():
        raise Unreadable(
            "There is no such file or folder", where=where, value=path,
            remedy="check the spelling and the working directory",
        )


def require_data_of(chosen: VersionSettings) -> None:
    """Refuse a version whose data set is not in the store and cannot be read again.

    Raises:
        Unreadable: Its files do not exist any more either.
    """
    from core.store import Store

    if not chosen.dataset or Store.of(chosen.config).find("ingest", chosen.dataset) is None:
        require_input(chosen.config)


def require_versions_or_models(chosen: VersionSettings, references: Sequence[str]) -> None:
    """Refuse a name that is neither a registered version nor a model of the configuration.

    Raises:
        ConfigError: Names the models.
    """
    from tracking.registry.version_settings import no_such_model, version_called

    for reference in references:
        models = [spec.name for spec in chosen.config.models]
        if version_called(chosen.config, reference) is None and reference not in models:
            raise no_such_model(chosen.config, reference)


def require_champion(chosen: VersionSettings) -> None:
    """Refuse a command about the champion if there is none.

    Raises:
        EmptyInput: No version is registered as the champion.
    """
    if chosen.version is None:
        raise EmptyInput(
            "There is no champion yet", where=f"models:/{chosen.config.promotion.model_name}@champion",
            remedy="run `reviewlm run` first; `reviewlm history` lists the versions",
        )


def require_new_reviews(chosen: VersionSettings) -> None:
    """Refuse to look for new reviews in the embedded corpus of a version: it never grows.

    Raises:
        ConfigError: No files are named, and the version was not trained on files.
    """
    if chosen.dataset and not chosen.config.source.input:
        raise ConfigError(
            "There are no new reviews", where="--input", remedy="name them: --input FILES",
            cause=f"the data are {chosen.data}, which never change",
        )
