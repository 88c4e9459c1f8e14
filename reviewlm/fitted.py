"""Choose the fitted models that a command works on, and their held-out reviews.

The models are the champion, bundles, or all models of a preset. They are read from the store; none is fitted. For a
model of a preset, the newest fit with equal options is taken.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ArtifactError, BundleError, ConfigError
from reviewlm.options import checked, configured, opened, settings_of_versions

if TYPE_CHECKING:
    from core.config.run_config import RunConfig
    from core.store import Artifact, Store
    from models.bundles.bundle import Bundle
    from models.specs import ModelSpec
    from models.streams import TokenStream

log = logging.getLogger(__name__)
Bundles = Annotated[
    list[str] | None, typer.Option("--bundle", help="Folder of a fitted model, or NAME=FOLDER. May be repeated.")
]
Fitted = Annotated[
    bool, typer.Option("--fitted", help="All fitted models of the preset. Without a preset: of the champion's run.")
]
Chosen = Annotated[
    str,
    typer.Option(
        "--model",
        help="Alias or number of a registered version. Default: champion. With --fitted: names of models, separated "
        "by commas.",
    ),
]
BUNDLE = "bundle"
CHAMPION = "champion"


@dataclass(frozen=True)
class RequestedModels:
    """Settings of a command about fitted models.

    Args:
        config: The configuration.
        clean: Digest of the prepared reviews whose models are wanted; empty for the newest.
        data: Description of these reviews.
    """

    config: RunConfig
    clean: str = ""
    data: str = "the test reviews of each model's own data"

    def data_said(self, text: str) -> str:
        """Return a description of the data that are measured: a text, or held-out reviews."""
        return ("standard input" if text == "-" else text) if text else self.data


def asked_settings(fitted: bool, preset: str, overrides: list[str] | None) -> RequestedModels:
    """Return the settings of a command: those of the preset; with *fitted* and no preset, those of the champion.

    Without both, the preset is `small`.

    Raises:
        ConfigError: *fitted* is set, but there is neither a preset nor a champion to define the data.
    """
    if preset or not fitted:
        return RequestedModels(configured(preset or "small", overrides))
    chosen = settings_of_versions([CHAMPION], "", None, overrides)
    return RequestedModels(chosen.config, chosen.clean, f"the test reviews of {chosen.data}")


def recurrent_networks(one: FittedModel) -> list[tuple[str, Any, Any]]:
    """Return name, options and network of every recurrent network that is the model or a part of it."""
    return list(_networks_in(one.name, one.bundle.spec, one.bundle.model))


def _networks_in(name: str, spec: Any, model: Any) -> Iterator[tuple[str, Any, Any]]:
    from models.mixture.parts import parts_in
    from models.specs import RecurrentSpec

    if isinstance(spec, RecurrentSpec):
        yield name, spec, model.network
        return
    for part in parts_in(model):
        yield from _networks_in(f"{part.name} of {name}", part.spec, part.model)


@dataclass(frozen=True)
class FittedModel:
    """An opened model.

    Args:
        name: Name for tables.
        bundle: Model and vocabulary.
        artifact: Its fit in the store, if known.
    """

    name: str
    bundle: Bundle
    artifact: Artifact | None = field(default=None, repr=False)

    @property
    def training_speed(self) -> float | None:
        """Tokens per second of wall time, as measured by the fit itself; None if it was not measured."""
        summary = self.artifact.facts.get("summary", {}) if self.artifact else {}
        speed = summary.get("tokens_per_second")
        return None if speed is None else float(speed)


def chosen_models(
    asked: RequestedModels, bundles: Sequence[str] | None, fitted: bool, chosen: str = ""
) -> list[FittedModel]:
    """Open the requested models.

    Args:
        asked: Settings with the models and the store.
        bundles: Folders, each alone or after "NAME=".
        fitted: Open the configuration's models that are in the store.
        chosen: With *fitted*, names of models of the configuration, separated by commas; "" for all. Without *fitted*,
            the alias or number of a registered version; "" for the champion.

    Raises:
        ConfigError: The options exclude each other, there is no such model, or two models share a name.
        BundleError: A bundle cannot be opened, or nothing is registered.
        ArtifactError: No model of the configuration is in the store.
    """
    config = asked.config
    if bundles and fitted:
        raise ConfigError("--bundle and --fitted cannot be used together", remedy="leave one of them out")
    if bundles and chosen:
        raise ConfigError("--bundle and --model cannot be used together", remedy="leave one of them out")
    if fitted:
        return _of_preset(config, _named(config, chosen) if chosen else config.models, asked.clean)
    if bundles:
        models = [_of_folder(config, given) for given in bundles]
        if len({model.name for model in models}) < len(models):
            raise ConfigError("Two models have the same name", where="--bundle", value=[model.name for model in models],
                              remedy="name them: --bundle NAME=FOLDER")  # fmt: skip
        return models
    bundle, version = opened(config, chosen or CHAMPION)
    return [FittedModel(f"{bundle.spec.name} v{version.version}", bundle, _fit_of(_store(config), bundle))]


def held_out(config: RunConfig, model: FittedModel) -> TokenStream:
    """Return the test reviews that belong to a model's fit, as tokens of its vocabulary.

    Raises:
        ArtifactError: They are not in the store.
    """
    from models.streams import TokenStream

    if model.artifact is not None:
        store, inputs = _store(config), model.artifact.manifest["inputs"]
        validation = store.listed("tokens", inputs.get("validation", ""))
        for tokens in store.all("tokens") if validation else ():
            same = tokens.manifest["inputs"] == validation.manifest["inputs"]  # type: ignore[union-attr]
            if same and tokens.manifest["options"] == {"split": "test"}:
                store.check(tokens)
                return checked(lambda: TokenStream.open(tokens.folder))  # noqa: B023
    raise ArtifactError(
        f"The held-out reviews of '{model.name}' are not in the store", where=_store(config).root,
        remedy="set REVIEWLM_HOME to the home folder of its run, or give a text: --text FILE, one review a line",
    )


def prepared_of(config: RunConfig, bundle: Bundle) -> Artifact:
    """Return the prepared reviews that a model was fitted on.

    Raises:
        ArtifactError: They are not in the store.
    """
    store, digest = _store(config), str(bundle.facts.get("clean_digest", ""))
    if not digest or (found := store.listed("prepare", digest)) is None:
        raise ArtifactError(
            f"The reviews of '{bundle.spec.name}' are not in the store", where=store.root,
            remedy="set REVIEWLM_HOME to the home folder of its run, or name others: --input FILES",
        )
    store.check(found)
    return found


def stream_of_texts(model: FittedModel, texts: Sequence[str], folder: Path) -> TokenStream:
    """Return texts as tokens of a model's vocabulary; their star ratings are unknown.

    Args:
        model: The model whose vocabulary and normal form are used.
        texts: One or more.
        folder: Folder that the tokens are written to.
    """
    import polars as pl

    from models.streams import TokenStream, write_stream

    vocabulary = model.bundle.vocabulary
    clean = [vocabulary.normal_form.apply(text) for text in texts]
    frame = pl.DataFrame({"review_id": [f"{number}" for number in range(len(clean))], "text": clean})
    columns = {"stars": pl.lit(0, pl.Int8), "bytes": pl.col("text").str.len_bytes().cast(pl.Int64) + 1}
    folder.mkdir(parents=True, exist_ok=True)
    write_stream(folder, vocabulary, [frame.with_columns(**columns)])
    return TokenStream.open(folder)


def _store(config: RunConfig) -> Store:
    from core.store import Store

    return Store.of(config)


def _named(config: RunConfig, names: str) -> list[ModelSpec]:
    """Return the models with these names, in the order of the configuration."""
    known, wanted = [spec.name for spec in config.models], [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in known] or ([] if wanted else [names]):
        near = difflib.get_close_matches(unknown[0], known, n=1)
        raise ConfigError("There is no such model in the configuration", where="--model", value=unknown[0],
                          remedy=f"did you mean '{near[0]}'?" if near else f"of {', '.join(known)}")  # fmt: skip
    return [spec for spec in config.models if spec.name in wanted]


def _of_preset(config: RunConfig, wanted: Sequence[ModelSpec], clean: str) -> list[FittedModel]:
    """Return the newest fit of each of these models, all fitted on the same reviews: *clean*, or the newest ones."""
    fits, store = {}, _store(config)
    for spec in wanted:
        equal = (fit for fit in store.all("fit") if fit.manifest.get("options") == _plain(spec))
        if found := next((fit for fit in equal if not clean or _reviews(store, fit) == clean), None):
            fits[spec.name] = found
        else:
            log.warning("'%s' is left out: it is not in the store yet; `reviewlm train` fits it", spec.name)
    if not fits:
        raise ArtifactError(
            "No model of this configuration is in the store", where=store.root,
            remedy="run `reviewlm train` with the same --preset, --set and --input first",
        )
    newest = max(fits.values(), key=lambda fit: float(fit.manifest.get("created", 0.0)))
    same = {name: fit for name, fit in fits.items() if _reviews(store, fit) == _reviews(store, newest)}
    for name in fits.keys() - same.keys():
        log.warning("'%s' is left out: its newest fit was trained on other reviews; run `reviewlm train`", name)
    for fit in same.values():
        store.check(fit)
    return [FittedModel(name, _open(fit.folder / BUNDLE), fit) for name, fit in same.items()]


def _plain(spec: ModelSpec) -> dict[str, Any]:
    """Return a spec's identity as it is read back from a manifest: lists instead of tuples."""
    from models.specs import identity

    return dict(json.loads(json.dumps(identity(spec))))


def _reviews(store: Store, fit: Artifact) -> str:
    """Return the digest of the clean reviews that a fit used; "" if they are not in the store any more."""
    tokens = store.listed("tokens", fit.manifest["inputs"].get("validation", ""))
    return str(tokens.manifest["inputs"].get("clean", "")) if tokens else ""


def _of_folder(config: RunConfig, given: str) -> FittedModel:
    name, equals, folder = given.rpartition("=")
    bundle = open_folder(Path(folder))
    return FittedModel(name if equals else bundle.spec.name, bundle, _fit_of(_store(config), bundle))


def _fit_of(store: Store, bundle: Bundle) -> Artifact | None:
    """Return the fit that made a bundle, if this store has it."""
    digest = str(bundle.facts.get("fit_digest", ""))
    return store.listed("fit", digest) if digest else None


def open_folder(folder: Path) -> Bundle:
    """Open a fitted model: its bundle, or the folder of a fit that contains the bundle.

    Raises:
        BundleError: There is no such folder, or it has no readable bundle.
    """
    if not folder.is_dir():
        raise BundleError("There is no such folder", where=folder, remedy="name the folder of a fitted model")
    return _open(folder / BUNDLE if (folder / BUNDLE).is_dir() else folder)


def _open(folder: Path) -> Bundle:
    from models.bundles.bundle import load_bundle

    return checked(lambda: load_bundle(folder))
