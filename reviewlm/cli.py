"""`reviewlm VERB`: the command line. Results go to standard output, progress and logs to standard error.

Every verb takes --preset, --set key=value and --json (the last line of standard output is then one JSON object), and
exits with the code of its error's class (see `reviewlm/errors.py`). Nothing heavy is imported until a verb runs.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from reviewlm import services, terminal
from reviewlm.config import RunConfig
from reviewlm.environment import ROOMS, available_cores, prepare_environment, reaching_prefect, wake_on_interrupt
from reviewlm.errors import ConfigError, InputError, ReviewLMError
from reviewlm.presets import load_config

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
ui_app = typer.Typer(no_args_is_help=True, help="Start and stop the Prefect server, the MLflow UI and a worker.")
quarantine_app = typer.Typer(no_args_is_help=True, help="Look at the records that ingestion set aside.")
app.add_typer(ui_app, name="ui")
app.add_typer(quarantine_app, name="quarantine")

Preset = Annotated[str, typer.Option("--preset", help="A preset of config/, or the path of a TOML file.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a setting: key=value. May be repeated.")]
Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON.")]
Input = Annotated[list[str] | None, typer.Option("--input", help="File, folder or glob of reviews. May be repeated.")]
Rebuild = Annotated[list[str] | None, typer.Option("--rebuild", help="Stage to build anew. May be repeated.")]
Stars = Annotated[int | None, typer.Option("--stars", min=0, max=5, help="Rating; none: as in the data.")]
Result = TypeVar("Result")
Model = Annotated[str, typer.Option("--model", help="Alias or number of a registered version.")]


def _config(preset: str, overrides: list[str] | None) -> RunConfig:
    config = load_config(preset, overrides or [])
    prepare_environment(config.home)
    services.join(config.home)
    return config


def _overrides(overrides: list[str] | None, rebuild: list[str] | None) -> list[str]:
    return [*(overrides or []), *([f"execution.rebuild={list(rebuild)!r}"] if rebuild else [])]


def _run_flow(name: str, preset: str, input: list[str] | None, overrides: list[str]) -> dict[str, Any]:
    """Import the flows only now, run one, and give back its result."""
    _config(preset, overrides)
    logging.getLogger(__name__).info("starting; a Prefect server of its own takes some seconds to be ready")
    import flows.partial
    import flows.retrain

    chosen: Callable[..., dict[str, Any]] = getattr(flows.retrain if name == "retrain" else flows.partial, name)
    wake_on_interrupt()
    with reaching_prefect():
        return chosen(preset, list(input or []), overrides)


@app.command()
def run(
    input: Input = None, preset: Preset = "small", set: Set = None, rebuild: Rebuild = None, json: Json = False
) -> None:
    """Run the whole pipeline: reviews in, a registered model out. Without --input: the embedded corpus."""
    result = _run_flow("retrain", preset, input, _overrides(set, rebuild))
    terminal.show_run(result)
    terminal.last_line(result, json)


@app.command()
def demo(set: Set = None, rebuild: Rebuild = None, json: Json = False) -> None:
    """Run the pipeline on the embedded corpus, then show reviews and next words of the champion."""
    result = _run_flow("retrain", "demo", None, _overrides(set, rebuild))
    terminal.show_run(result)
    config = _config("demo", set)
    bundle, version = _champion(config, "champion")
    from models.sampling import generate as sample
    from models.sampling import suggest as next_words

    options = config.evaluation
    for stars in (1, 3, 5):
        text = sample(
            bundle, 1, stars, temperature=options.temperature, top_p=options.top_p,
            max_tokens=options.max_tokens, seed=options.seed,
        )[0]
        terminal.show_review(stars, text)
    prompt = options.prompts[0]
    terminal.show_suggestions(prompt, next_words(bundle, prompt, options.suggestions))
    terminal.show_next_steps(version)
    terminal.last_line(result, json)


@app.command()
def ingest(
    input: Input = None, preset: Preset = "small", set: Set = None, rebuild: Rebuild = None, json: Json = False
) -> None:
    """Read, type and check reviews; bad records go to the quarantine."""
    terminal.show_facts(result := _run_flow("ingest_only", preset, input, _overrides(set, rebuild)))
    terminal.last_line(result, json)


@app.command()
def prepare(
    input: Input = None, preset: Preset = "small", set: Set = None, rebuild: Rebuild = None, json: Json = False
) -> None:
    """Run up to the token streams: clean text, frozen split, vocabularies."""
    terminal.show_facts(result := _run_flow("prepare_only", preset, input, _overrides(set, rebuild)))
    terminal.last_line(result, json)


@app.command()
def train(
    input: Input = None, preset: Preset = "small", set: Set = None, rebuild: Rebuild = None, json: Json = False
) -> None:
    """Run up to the fitted models."""
    terminal.show_facts(result := _run_flow("train_only", preset, input, _overrides(set, rebuild)))
    terminal.last_line(result, json)


@app.command()
def evaluate(
    input: Input = None, preset: Preset = "small", set: Set = None, rebuild: Rebuild = None, json: Json = False
) -> None:
    """Run up to the table that compares the models; the registry is not touched."""
    terminal.show_models(result := _run_flow("evaluate_only", preset, input, _overrides(set, rebuild)))
    terminal.last_line(result, json)


@app.command()
def promote(input: Input = None, preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Hold the best model for this configuration against the champion, both scored now."""
    terminal.show_run(result := _run_flow("promote_only", preset, input, _overrides(set, None)))
    terminal.last_line(result, json)


@app.command()
def synth(
    out: Annotated[Path, typer.Option("--out", help="File to write (JSON lines in Yelp's schema).")],
    reviews: Annotated[int, typer.Option("--reviews", min=1)] = 20_000,
    seed: Annotated[int, typer.Option("--seed")] = 1,
    malformed: Annotated[float, typer.Option("--malformed", min=0, max=0.5, help="Share of broken lines.")] = 0.0,
    duplicates: Annotated[float, typer.Option("--duplicates", min=0, max=0.5, help="Share of repeated reviews.")] = 0.0,
    preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Write synthetic reviews whose exact probability is known."""
    _config(preset, set)
    from corpus.synth import write_reviews
    from reviewlm.errors import disk_errors

    with disk_errors(out):
        result = write_reviews(out, reviews, seed, malformed, duplicates, workers=available_cores())
    terminal.show_facts({**result, "out": str(out)})
    terminal.last_line(result, json)


def _champion(config: RunConfig, reference: str) -> tuple[Any, Any]:
    from tracking.opening import open_version

    return open_version(config, reference)


def _checked(work: Callable[[], Result]) -> Result:
    """Run something of `models` and turn a complaint about its arguments into an input error."""
    from models.base import ModelError

    try:
        return work()
    except ModelError as error:
        raise (InputError if error.kind == "input" else ReviewLMError)(str(error)) from error


@app.command()
def generate(
    stars: Stars = None,
    n: Annotated[int, typer.Option("--n", min=1)] = 1,
    seed: Annotated[int, typer.Option("--seed")] = 1,
    prompt: Annotated[str, typer.Option("--prompt", help="Beginning of the review, kept as it is.")] = "",
    temperature: Annotated[float, typer.Option("--temperature", min=0)] = 0.8,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="0: all words.")] = 0,
    top_p: Annotated[float, typer.Option("--top-p", min=0, max=1)] = 0.95,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1)] = 300,
    model: Model = "champion", preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Write reviews with the registered champion."""
    bundle, version = _champion(_config(preset, set), model)
    from models.sampling import generate as sample

    texts = _checked(lambda: sample(bundle, n, stars, prompt, temperature, top_k, top_p, max_tokens, seed))
    for text in texts:
        terminal.show_review(stars, text)
    terminal.last_line({"version": version.version, "texts": texts}, json)


@app.command()
def suggest(
    prompt: Annotated[str, typer.Argument(help="The text so far.")],
    k: Annotated[int, typer.Option("--k", min=1)] = 5,
    stars: Stars = None,
    model: Model = "champion", preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Suggest the next whole words, with their probabilities."""
    bundle, version = _champion(_config(preset, set), model)
    from models.sampling import suggest as next_words

    found = _checked(lambda: next_words(bundle, prompt, k, stars))
    terminal.show_suggestions(prompt, found)
    words = [{"word": word, "probability": probability} for word, probability in found.words]
    terminal.last_line({"version": version.version, "words": words, "rest": found.rest}, json)


@app.command()
def score(
    file: Annotated[str, typer.Argument(help="One text a line; '-' reads standard input.")],
    stars: Stars = None,
    model: Model = "champion", preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:
    """Measure how surprising texts are to the champion: nats, perplexity, bits per byte."""
    texts = terminal.read_texts(file)
    bundle, version = _champion(_config(preset, set), model)
    result = _checked(lambda: terminal.sum_of_scores([bundle.score_text(text, stars) for text in texts]))
    terminal.show_facts(result)
    terminal.last_line({"version": version.version, **result}, json)


@app.command()
def history(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """List the registered versions with the gate's outcome and reason."""
    config = _config(preset, set)
    from tasks.track import registry_of

    rows = registry_of(config).history()
    terminal.show_rows(rows)
    terminal.last_line({"versions": rows}, json)


@app.command()
def rollback(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Give the alias `champion` back to the version that had it before."""
    config = _config(preset, set)
    from tasks.track import registry_of

    version = registry_of(config).rollback()
    terminal.show_facts({"champion_version": version})
    terminal.last_line({"champion_version": version}, json)


@quarantine_app.command("show")
def quarantine_show(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Sum up the records that the newest ingestion set aside, with an example of each reason."""
    config = _config(preset, set)
    from corpus.quarantine import newest_quarantine, summarise

    rows = summarise(newest_quarantine(config.home / "store"))
    terminal.show_rows(rows)
    terminal.last_line({"reasons": rows}, json)


@ui_app.command("start")
def ui_start(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Start Prefect server, MLflow UI and workers, create pools and limits, deploy, and print the addresses."""
    config = _config(preset, set)
    terminal.show_facts(result := services.start(config.home))
    terminal.last_line(result, json)


@ui_app.command("stop")
def ui_stop(preset: Preset = "small", set: Set = None, json: Json = False) -> None:
    """Stop exactly what `ui start` started."""
    config = _config(preset, set)
    terminal.show_facts(result := {"stopped": ", ".join(services.stop(config.home)) or "nothing was running"})
    terminal.last_line(result, json)


def main() -> None:
    """Run a verb; an error of ours becomes a message on standard error and its class's exit code."""
    terminal.allow_any_terminal()
    terminal.log_to_stderr(ROOMS)
    try:
        if app(standalone_mode=False) == 130:  # Typer turns Ctrl-C into an exit code and hands that back
            raise KeyboardInterrupt
    except ReviewLMError as error:
        terminal.show_error(error)
        sys.exit(error.exit_code)
    except typer.Exit as ended:
        sys.exit(ended.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        logging.getLogger(__name__).warning("interrupted; a rerun goes on from what is finished")
        sys.exit(130)
    except Exception as error:
        sys.exit(terminal.usage_or_raise(error, ConfigError.exit_code))


if __name__ == "__main__":
    main()
