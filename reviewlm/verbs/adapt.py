"""Define the command that reads a text as one continuous stream with a model, static and adapting."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import ConfigError, InputError
from core.model_errors import converted_errors
from core.output import require_folder
from reviewlm.findings import Finding, Out, Track, TrackPreset, TrackSet, hand_over, tracked_at
from reviewlm.fitted import open_folder
from reviewlm.ngram_values import whole_numbers
from reviewlm.options import Json, is_given

log = logging.getLogger(__name__)
app = typer.Typer()
TEXT = "A folder of tokens, or a text file, one document per line; also .gz and .zst."
PARTS = {
    "dynamic": ("train", "rule", "segment", "rates", "decays", "dynamic_tokens"),
    "cache": ("thetas", "windows", "cache_tokens"),
}
"""Parameters of the command that belong to one variant."""


@app.command()
def adapt(
    context: typer.Context,
    bundle: Annotated[Path, typer.Option("--bundle", help="Folder of a fitted neural model.")],
    validation: Annotated[Path, typer.Option("--validation", help=f"Text on which all parameters are chosen. {TEXT}")],
    test: Annotated[Path, typer.Option("--test", help=f"Text to measure on. {TEXT}")],
    train: Annotated[
        Path | None,
        typer.Option("--train", help=f"The model's training text, required for --rule rms. {TEXT}"),
    ] = None,
    variants: Annotated[
        str, typer.Option("--variants", help="static, cache or dynamic, separated by commas.")
    ] = "static,cache,dynamic",
    rule: Annotated[str, typer.Option("--rule", help="Update rule of dynamic evaluation: rms or sgd.")] = "rms",
    segment: Annotated[int, typer.Option("--segment", min=1, help="Dynamic evaluation: tokens per update.")] = 20,
    rates: Annotated[
        str, typer.Option("--rates", help="Dynamic evaluation: rates to try, separated by commas. Default: usual ones.")
    ] = "",
    decays: Annotated[
        str, typer.Option("--decays", help="Dynamic evaluation: decays to try, separated by commas.")
    ] = "0.02,0,0.075",
    thetas: Annotated[
        str, typer.Option("--thetas", help="Cache: values of theta, separated by commas. Default: usual ones.")
    ] = "",
    windows: Annotated[
        str, typer.Option("--windows", help="Cache: numbers of tokens kept, separated by commas. Default: usual ones.")
    ] = "",
    cache_tokens: Annotated[
        int, typer.Option("--cache-tokens", min=1, help="Validation tokens on which the cache's parameters are chosen.")
    ] = 100_000,
    dynamic_tokens: Annotated[
        int, typer.Option("--dynamic-tokens", min=1, help="Validation tokens on which rate and decay are chosen.")
    ] = 20_000,
    out: Out = None, track: Track = False, preset: TrackPreset = "small", set: TrackSet = None, as_json: Json = False,
) -> None:
    """Measure a model on one continuous stream: static, with a continuous cache, with dynamic evaluation."""
    specs = _specs(rule, segment, rates, decays, thetas, windows, cache_tokens, dynamic_tokens)
    _require_texts(validation, test, train)
    from evaluation.scoring.continuous import compare_continuous, stream_of

    chosen = _variants(variants)
    _refuse_idle(context, chosen, rule)
    config, model = tracked_at(preset, set, track), open_folder(bundle)
    if "dynamic" in chosen and rule == "rms" and train is None:
        raise ConfigError(
            "The rule 'rms' needs the training text", where="--train", remedy="give it, or use --rule sgd"
        )
    require_folder(out)
    with tempfile.TemporaryDirectory() as work, converted_errors():
        given = stream_of(train, model.vocabulary, Path(work) / "train") if train else None
        choose = stream_of(validation, model.vocabulary, Path(work) / "validation")
        measure = stream_of(test, model.vocabulary, Path(work) / "test")
        figures = compare_continuous(model, choose, measure, given, chosen, **specs, report=_say)
    titles = {"variants": "Test text as ONE continuous stream, state carried: do not compare with other figures"}
    tables = {"variants": [figure.to_dict() for figure in figures]}
    metrics = {f"{figure.variant.split(',')[0]}/perplexity": figure.perplexity for figure in figures}
    found = Finding("continuous stream", _asked(context), metrics, tables, {}, titles)
    hand_over(config, found, out, as_json)


def _asked(context: typer.Context) -> dict[str, Any]:
    """Return the settings that determine the figures, as given."""
    where = ("out", "track", "preset", "set", "as_json")
    return {name: str(value) for name, value in context.params.items() if name not in where}


def _refuse_idle(context: typer.Context, variants: list[str], rule: str) -> None:
    """Refuse options that have no effect with the other options.

    Raises:
        ConfigError: The option belongs to a variant that is not measured, or names training text that is not read.
    """
    for variant, names in PARTS.items():
        given = [name for name in names if is_given(context, name)]
        if given and variant not in variants:
            raise ConfigError(f"This option belongs to the variant '{variant}', which is not measured", value=variants,
                              where=f"--{given[0].replace('_', '-')}", remedy="leave it out")  # fmt: skip
    if rule == "sgd" and is_given(context, "train"):
        raise ConfigError("The rule 'sgd' does not use a training text", where="--train", remedy="leave it out")


def _variants(given: str) -> list[str]:
    """Return the variants, separated by commas in the option; at least one is needed, or the report would be empty."""
    from evaluation.scoring.continuous import VARIANTS

    chosen = [name.strip() for name in given.split(",") if name.strip()]
    if unknown := [name for name in chosen if name not in VARIANTS] or ([] if chosen else [given]):
        raise ConfigError(
            "Unknown variant", where="--variants", value=unknown[0], remedy=f"of {', '.join(VARIANTS)}"
        )
    return chosen


def _require_texts(*paths: Path | None) -> None:
    """Refuse a text that does not exist, before any text is read."""
    for path in paths:
        if path is not None and not path.exists():
            raise InputError("The text does not exist", where=path, remedy=TEXT)


def _specs(
    rule: str, segment: int, rates: str, decays: str, thetas: str, windows: str, cache_tokens: int, dynamic_tokens: int
) -> dict[str, Any]:
    """Return the specs of both variants from the options.

    Raises:
        ConfigError: A setting is out of its range.
    """
    from models.specs import DynamicSpec, NeuralCacheSpec

    if rule not in ("rms", "sgd"):
        raise ConfigError("--rule must be 'rms' or 'sgd'", where="--rule", value=rule)
    candidates = {"thetas": _numbers(thetas, "--thetas"), "windows": tuple(whole_numbers(windows, "--windows", 1))}
    try:
        cache = NeuralCacheSpec(tuning_tokens=cache_tokens, **{k: v for k, v in candidates.items() if v})  # type: ignore[arg-type]
        dynamic = DynamicSpec(
            rule=rule, segment=segment, rates=_numbers(rates, "--rates"), decays=_numbers(decays, "--decays"),  # type: ignore[arg-type]
            tuning_tokens=dynamic_tokens,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(f"A setting is not valid: {error}") from error
    return {"cache": cache, "dynamic": dynamic}


def _numbers(text: str, where: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError("These must be numbers, separated by commas", where=where, value=text) from error


def _say(figure: Any) -> None:
    log.info("%-45s perplexity %.3f", figure.variant, figure.perplexity)
