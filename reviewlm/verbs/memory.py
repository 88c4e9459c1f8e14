"""Define the commands that show how much fitted models remember: gradients by distance, use of context, probes."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError
from core.output import require_folder
from reviewlm import terminal
from reviewlm.findings import Finding, Out, Track, hand_over
from reviewlm.fitted import (
    Bundles,
    Chosen,
    Fitted,
    FittedModel,
    asked_settings,
    chosen_models,
    held_out,
    recurrent_networks,
    stream_of_texts,
)
from reviewlm.ngram_values import whole_numbers
from reviewlm.options import Json, Set, VersionPreset, checked

if TYPE_CHECKING:
    from core.config.run_config import RunConfig
    from course.gradient_flow import GradientFlow
    from models.streams import TokenStream

log = logging.getLogger(__name__)
app = typer.Typer()
Text = Annotated[str, typer.Option("--text", help="Held-out text, one review per line. Default: test reviews.")]
POSITIONS = 20
"""Number of positions i of each review whose loss is differentiated."""
RANDOM_WORDS = 1_000
SCORED, TRAINED = "scored tokens/CPU s", "trained tokens/s"
MEASURES = ("accuracy", "shift", "probability", "nats")
PROBE_SETS = ("english", "grammar")


@app.command("gradient-flow")
def gradient_flow(
    bundle: Bundles = None, fitted: Fitted = False, model: Chosen = "", text: Text = "",
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Also show the gradient with each network's initial weights.")
    ] = False,
    fresh: Annotated[
        int, typer.Option("--fresh", min=0, help="Use new networks of every cell, with this number of units.")
    ] = 0,
    distances: Annotated[int, typer.Option("--distances", min=1, help="Tokens to look back.")] = 100,
    reviews: Annotated[int, typer.Option("--reviews", min=1, help="Reviews to average over.")] = 16,
    out: Out = None, track: Track = False, preset: VersionPreset = "", set: Set = None, as_json: Json = False,
) -> None:
    """Show how much of a loss's gradient reaches earlier tokens, by distance and cell; and dead ReLU units."""
    if fresh and (bundle or fitted or model or text or untrained):
        raise ConfigError("--fresh needs no model and no text", where="--fresh", remedy="leave out the other options")
    texts = terminal.read_texts(text) if text else None
    asked, length = asked_settings(fitted and not bundle, preset, set), distances + POSITIONS + 1
    require_folder(out)
    if fresh:
        networks = _fresh(fresh, reviews, length)
    else:
        models = chosen_models(asked, bundle, fitted, model)
        networks = _networks(models, asked.config, texts, untrained, reviews, length)
    settings = {"distances": distances, "reviews": reviews, "fresh": fresh, "untrained": untrained, "text": text}
    found = checked(lambda: _gradients(networks, distances, settings))
    data = "random tokens" if fresh else asked.data_said(text)
    hand_over(asked.config if track else None, replace(found, data=data), out, as_json)


def _gradients(asked: Iterable[tuple[str, Any, Any, Any]], distances: int, settings: dict[str, Any]) -> Finding:
    """Return gradients by distance for each (name, options, network, tokens), and the activity of ReLU units."""
    from course.figures import gradient_figure
    from course.gradient_flow import gradient_flow as flow_of
    from course.gradient_flow import relu_activity
    from course.tables import gradient_table

    curves: dict[str, GradientFlow] = {}
    parts: dict[str, GradientFlow] = {}
    activity: list[dict[str, Any]] = []
    for name, spec, network, ids_BT in asked:
        flows = flow_of(network, ids_BT, distances)
        curves[name] = flows.get("all", flows["h"])
        parts |= {f"{name}: {memory}": flow for memory, flow in flows.items() if len(flows) > 1 and memory != "all"}
        log.info("%-16s half of the gradient is lost every %.3g tokens", name, curves[name].decay().half_length)
        if spec.kind == "rnn" and spec.nonlinearity == "relu":
            activity += [{"network": name, **layer._asdict()} for layer in relu_activity(network, spec, ids_BT)]
    table = gradient_table(curves | parts)
    tables = {"gradient_flow": table, **({"relu_units": activity} if activity else {})}
    titles = {"gradient_flow": "Mean of |dJ(i)/dh(j)| by the distance i - j, in units of its value at distance 1",
              "relu_units": "Units of ReLU layers that are 0 at every position, and zeros among all activations"}
    columns = {"half_length": "half-length", "slope": "slope", "reach": "1 % at"}
    metrics = {f"{row['network']}/{name}": row[column] for row in table for name, column in columns.items()}
    metrics |= {f"{row['network']}/{row['layer']}/dead_share": row["dead_share"] for row in activity}
    figures, absent = {"gradient_flow": gradient_figure(curves)}, () if activity else ("relu_units",)
    return Finding("gradient flow", settings, metrics, tables, figures, titles, absent)


@app.command("context-use")
def context_use(
    bundle: Bundles = None, fitted: Fitted = False, model: Chosen = "", text: Text = "",
    contexts: Annotated[
        str, typer.Option("--contexts", help="Context lengths, separated by commas.")
    ] = "1,2,5,10,20,50",
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Held-out tokens to predict.")] = 2_000,
    out: Out = None, track: Track = False, preset: VersionPreset = "", set: Set = None, as_json: Json = False,
) -> None:
    """Measure perplexity by the length of context that a model may see, the context it needs, and its speed."""
    wanted, texts = whole_numbers(contexts, "--contexts", least=1), terminal.read_texts(text) if text else None
    asked = asked_settings(fitted and not bundle, preset, set)
    require_folder(out)
    from evaluation.plots.memory import context_figure
    from evaluation.probing.context_length import keeps_rating
    from evaluation.probing.context_use import context_use as use_of
    from evaluation.probing.memory_tables import context_table, scoring_speed

    found: dict[str, Any] = {}
    speeds: dict[str, dict[str, float | None]] = {}
    with tempfile.TemporaryDirectory() as folder:
        models = chosen_models(asked, bundle, fitted, model)
        if len({one.bundle.vocabulary.digest for one in models}) > 1:
            log.warning("these models have different vocabularies; only compare perplexities of the same vocabulary")
        for number, one in enumerate(models):
            stream = _stream(asked.config, one, texts, Path(folder) / f"{number}")
            rating = keeps_rating(one.bundle.spec, one.bundle.model)
            found[one.name] = checked(lambda: use_of(one.bundle.model, stream, wanted, tokens, rating))  # noqa: B023
            speeds[one.name] = {
                SCORED: round(scoring_speed(one.bundle.model, stream)),
                TRAINED: None if one.training_speed is None else round(one.training_speed),
            }
            log.info("%-16s perplexity %.4g with the whole context", one.name, found[one.name].full)
    table = context_table(found, speeds)
    rows = [(name, row) for name, use in found.items() for row in use.rows]
    metrics: dict[str, float] = {f"{name}/context_{row.context or 'all'}": row.perplexity for name, row in rows}
    metrics |= {f"{name}/effective_context": use.effective for name, use in found.items() if use.effective is not None}
    metrics |= {f"{name}/scored_tokens_per_cpu_second": speed[SCORED] or 0 for name, speed in speeds.items()}
    titles = {"context_use": "Held-out perplexity by the tokens of context kept; 'needs': within 1 % of all"}
    settings = {"contexts": wanted, "tokens": tokens, "text": text}
    tables, figures = {"context_use": table}, {"context_use": context_figure(found)}
    found_out = Finding("context use", settings, metrics, tables, figures, titles, data=asked.data_said(text))
    hand_over(asked.config if track else None, found_out, out, as_json)


@app.command("probe")
def probe(
    bundle: Bundles = None, fitted: Fitted = False, model: Chosen = "",
    probes: Annotated[
        str, typer.Option("--probes", help="'english' sentences, or 'grammar': sentences from the embedded corpus.")
    ] = "english",
    reviews: Annotated[int, typer.Option("--reviews", min=1, help="With grammar: reviews to draw.")] = 300,
    seed: Annotated[int, typer.Option("--seed", min=0, help="With grammar: seed of the draw.")] = 1,
    out: Out = None, track: Track = False, preset: VersionPreset = "", set: Set = None, as_json: Json = False,
) -> None:
    """Test whether models choose the right one of two words when the deciding word is far back."""
    if probes not in PROBE_SETS:
        raise ConfigError("--probes must be 'english' or 'grammar'", where="--probes", value=probes)
    asked = asked_settings(fitted and not bundle, preset, set)
    require_folder(out)
    from evaluation.plots.memory import probe_figure
    from evaluation.probing.grammar_probes import grammar_probes
    from evaluation.probing.memory_tables import probe_rows
    from evaluation.probing.probe_sentences import english_probes
    from evaluation.probing.probes import probe as ask
    from evaluation.probing.probes import table_of, totals_of

    chosen = english_probes() if probes == "english" else grammar_probes(reviews, seed)
    tables = {}
    metrics: dict[str, float] = {}
    for one in chosen_models(asked, bundle, fitted, model):
        answers = checked(lambda: ask(one.bundle, chosen))  # noqa: B023
        tables[one.name], totals = table_of(answers), totals_of(answers)
        metrics |= {f"{one.name}/{name}": value for name, value in totals.items()}
        log.info("%-16s %d probes, %d skipped (unknown words)", one.name, totals["probes"], totals["skipped"])
    titles = {"probes_accuracy": "Share of probes whose right word is preferred, by words since the deciding word",
              "probes_shift": "Nats by which the deciding word changes the odds of the right word",
              "probes_probability": "Mean probability of the right word, by words since the deciding word",
              "probes_nats": "Mean nats of the right word"}
    settings = {"probes": probes, "reviews": reviews, "seed": seed}
    rows = {f"probes_{measure}": probe_rows(tables, measure) for measure in MEASURES}
    figures = {f"probes_{measure}": probe_figure(tables, measure) for measure in MEASURES}
    found_out = Finding(f"probes {probes}", settings, metrics, rows, figures, titles)
    hand_over(asked.config if track else None, found_out, out, as_json)


def _networks(
    models: list[FittedModel], config: RunConfig, texts: list[str] | None, fresh_too: bool, reviews: int, length: int
) -> Iterator[tuple[str, Any, Any, Any]]:
    """Yield name, options, network and tokens of every recurrent network, and of its untrained copy if requested."""
    from course.gradient_flow import beginnings, untrained

    recurrent = [(one, *network) for one in models for network in recurrent_networks(one)]
    if not recurrent:
        names = ", ".join(f"{one.name} ({one.bundle.spec.kind})" for one in models)
        raise ConfigError("None of the models is or contains a recurrent network", value=names,
                          remedy="name one: --bundle FOLDER, --fitted, or --fresh 128 for new networks")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for number, (one, name, spec, network) in enumerate(recurrent):
            ids_BT = beginnings(_stream(config, one, texts, Path(folder) / f"{number}"), length, reviews)
            yield name, spec, network, ids_BT
            if fresh_too:
                yield f"{name}, untrained", spec, untrained(spec, one.bundle.vocabulary.size), ids_BT


def _fresh(hidden: int, reviews: int, length: int) -> Iterator[tuple[str, Any, Any, Any]]:
    """Yield name, options, network and random tokens of a new network for every kind of cell."""
    import numpy as np

    from course.gradient_flow import each_cell, untrained
    from models.tokens.words import FIRST

    ids_BT = np.random.default_rng(1).integers(FIRST, RANDOM_WORDS, (reviews, length))
    for name, spec in each_cell(hidden, hidden).items():
        yield name, spec, untrained(spec, RANDOM_WORDS), ids_BT


def _stream(config: RunConfig, one: FittedModel, texts: list[str] | None, folder: Path) -> TokenStream:
    return held_out(config, one) if texts is None else stream_of_texts(one, texts, folder)
