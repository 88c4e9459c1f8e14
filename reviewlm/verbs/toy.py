"""Define the commands that train small networks on tasks that need memory."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError, Diverged
from core.output import require_folder
from reviewlm import terminal
from reviewlm.findings import Finding, Out, Track, TrackPreset, TrackSet, hand_over, tracked_at
from reviewlm.options import Json, checked

if TYPE_CHECKING:
    from core.config.run_config import RunConfig
    from course.toy_tasks import Addition, Task
    from course.toy_training import Learned, ToyCase
    from models.specs import RecurrentSpec

log = logging.getLogger(__name__)
app = typer.Typer(no_args_is_help=True, help="Train small networks on tasks that need memory.")
Networks = Annotated[
    str, typer.Option("--networks", help="Between commas, e.g. 'tanh, lstm forget 3'. 'all': every cell and start.")
]
Hidden = Annotated[int, typer.Option("--hidden", min=1, help="Units of the one layer.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Examples per update.")]
Updates = Annotated[int, typer.Option("--updates", min=1, help="Maximum of updates; ends earlier without errors.")]
Rates = Annotated[
    str, typer.Option("--rates", help="Learning rates to try, between commas; the best on other examples is kept. "
                      "Default: the network's own.")
]  # fmt: skip
Sized = Annotated[int, typer.Option(
    "--hidden", min=1, help="Units of the networks with a memory; others get as many as make them equally large."
)]  # fmt: skip
Distractors = Annotated[int, typer.Option("--distractors", min=1, help="Number of different distractors.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of initial weights and examples.")]


@app.command()
def addition(
    bits: Annotated[int, typer.Option("--bits", min=3, max=15, help="Bits of both numbers.")] = 8,
    networks: Networks = "lstm forget 1", hidden: Hidden = 32, batch: Batch = 64, updates: Updates = 2_000,
    seed: Seed = 1,
    out: Out = None, track: Track = False, preset: TrackPreset = "small", set: TrackSet = None, as_json: Json = False,
) -> None:
    """Train on binary addition, least significant bit first; measure on pairs not used in training."""
    from course.toy_tasks import Addition

    task, cases, config = checked(lambda: Addition(bits, seed)), _named(networks), tracked_at(preset, set, track)
    require_folder(out)
    learned = _teach(task, cases, _specs(cases, hidden, batch, seed), updates)
    tables = {"addition_by_carry": _by_carry(task, learned)}
    settings = {"bits": bits, "hidden": hidden, "batch": batch, "updates": updates, "seed": seed}
    _finish("addition", f"Sums of two numbers of {bits} bits, on held-out pairs", 0.5 ** (bits + 1), settings, learned,
            tables, config, out, as_json)  # fmt: skip


@app.command()
def recall(
    lag: Annotated[int, typer.Option("--lag", min=1, help="Steps between a symbol and the question about it.")] = 100,
    length: Annotated[int, typer.Option("--length", min=1, help="Symbols to remember; above 1: the copy task.")] = 1,
    symbols: Annotated[int, typer.Option("--symbols", min=2, help="Number of different symbols.")] = 4,
    distractors: Distractors = 4,
    networks: Networks = "all", hidden: Hidden = 64, batch: Batch = 32, updates: Updates = 1_500, seed: Seed = 1,
    out: Out = None, track: Track = False, preset: TrackPreset = "small", set: TrackSet = None, as_json: Json = False,
) -> None:
    """Train to remember symbols over a lag of random distractors."""
    from course.toy_tasks import Recall

    if length > lag:
        raise ConfigError("The questions would come before all symbols are shown", where="--length", value=length,
                          remedy=f"--length {lag} at most, or a --lag of {length} or more")  # fmt: skip
    task, cases = checked(lambda: Recall(lag, length, symbols, distractors, seed)), _named(networks)
    config = tracked_at(preset, set, track)
    require_folder(out)
    learned = _teach(task, cases, _specs(cases, hidden, batch, seed), updates)
    settings = {"lag": lag, "length": length, "symbols": symbols, "distractors": distractors, "hidden": hidden,
                "batch": batch, "updates": updates, "seed": seed}  # fmt: skip
    title = f"Keeping {'a symbol' if length == 1 else f'{length} symbols'} of {symbols} over {lag} steps of distractors"
    chance = symbols ** -float(length)
    _finish("recall", title, chance, settings, learned, {}, config, out, as_json)


@app.command()
def association(
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Pairs of a key and a value to remember.")] = 3,
    lag: Annotated[int, typer.Option("--lag", min=0, help="Distractors between the pairs and the questions.")] = 40,
    keys: Annotated[int, typer.Option("--keys", min=1, help="Number of different keys.")] = 6,
    values: Annotated[int, typer.Option("--values", min=2, help="Number of different values.")] = 6,
    distractors: Distractors = 4,
    slots: Annotated[int, typer.Option("--slots", min=1, help="Slots of the external memory.")] = 64,
    rates: Rates = "", networks: Networks = "memory", hidden: Sized = 48, batch: Batch = 64, updates: Updates = 500,
    seed: Seed = 1,
    out: Out = None, track: Track = False, preset: TrackPreset = "small", set: TrackSet = None, as_json: Json = False,
) -> None:
    """Train to answer keys with their values after a lag, with and without an external memory."""
    from course.memory.comparison import association_cases
    from course.memory.tasks import Association

    task = _possible(lambda: Association(pairs, lag, keys, values, distractors, seed))
    settings = {"pairs": pairs, "lag": lag, "keys": keys, "values": values, "distractors": distractors, "slots": slots,
                "rates": rates, "hidden": hidden, "batch": batch, "updates": updates, "seed": seed}  # fmt: skip
    title = f"{pairs} of {keys} keys with {values} values over {lag} distractors; guessing: {1 / values:.1%} of answers"
    _compare("association", title, values ** -float(pairs), task, association_cases(slots), networks, settings,
             (preset, set, track), out, as_json)  # fmt: skip


@app.command()
def implication(
    steps: Annotated[int, typer.Option("--steps", min=1, max=8, help="Facts from the question to the answer.")] = 2,
    chains: Annotated[int, typer.Option("--chains", min=2, help="Chains of facts; all but one are distractors.")] = 3,
    names: Annotated[int, typer.Option("--names", min=8, max=99, help="Number of different names.")] = 24,
    rates: Rates = "", networks: Networks = "hops 1, hops 2, hops 3", hidden: Sized = 32, batch: Batch = 64,
    updates: Updates = 1_500, seed: Seed = 1,
    out: Out = None, track: Track = False, preset: TrackPreset = "small", set: TrackSet = None, as_json: Json = False,
) -> None:
    """Train to follow chains of facts "a implies b", with memory networks of 1 to 3 hops; test on new chains."""
    from course.memory.comparison import implication_cases
    from course.memory.tasks import Implication

    task = _possible(lambda: Implication(steps, chains, names, seed))
    settings = {"steps": steps, "chains": chains, "names": names, "rates": rates, "hidden": hidden, "batch": batch,
                "updates": updates, "seed": seed}  # fmt: skip
    title = f"Chains of {steps} facts among {chains} chains; guessing one of their ends: {1 / chains:.1%}"
    _compare("implication", title, 1 / chains, task, implication_cases(), networks, settings, (preset, set, track),
             out, as_json)  # fmt: skip


def _possible(make: Callable[[], Task]) -> Task:
    """Return the task, or raise an error about the option that is out of range because of another one."""
    from models.base import ModelError

    try:
        return make()
    except ModelError as error:  # "keys is 2; it must be …"
        raise ConfigError(str(error), where=f"--{str(error).split()[0]}") from error


def _compare(
    name: str, title: str, chance: float, task: Task, known: Mapping[str, ToyCase], networks: str,
    settings: dict[str, Any], tracking: tuple[str, list[str] | None, bool], out: Any, as_json: bool,
) -> None:  # fmt: skip
    """Train networks with and without a memory, all with as many parameters as the first known one, and show them."""
    from course.memory.comparison import PLAIN, of_equal_size, parameters_of

    cases, rates = _named(networks, known), _rates(settings["rates"])
    config = tracked_at(*tracking)
    require_folder(out)
    sizes = settings["hidden"], settings["batch"], settings["seed"]
    [(first, largest)] = list(_specs(dict(list(known.items())[:1]), *sizes).items())
    parameters = parameters_of(known[first].build, largest, task.entries)
    specs = {
        key: of_equal_size(cases[key].build, spec, task.entries, parameters) if key in PLAIN else spec
        for key, spec in _specs(cases, *sizes).items()
    }
    learned = _teach(task, cases, specs, settings["updates"], rates)
    more = {
        key: {"rate": one.rate, "parameters": sum(weight.numel() for weight in one.network.parameters())}
        for key, one in learned.items()
    }
    _finish(name, title, chance, settings, learned, {}, config, out, as_json, more)


def _rates(given: str) -> list[float]:
    """Return the learning rates of the option, none for its default."""
    try:
        rates = [float(part) for part in given.split(",") if part.strip()]
    except ValueError:
        rates = [0.0]
    if not all(0 < rate < inf for rate in rates):
        raise ConfigError("Learning rates must be positive numbers", where="--rates", value=given,
                          remedy="--rates 1e-3,3e-3,1e-2")  # fmt: skip
    return rates


def _named(networks: str, known: Mapping[str, ToyCase] | None = None) -> dict[str, ToyCase]:
    """Return the networks named in the option, or all networks for "all"; known are those of `CASES` by default."""
    from course.toy_training import CASES

    known = CASES if known is None else known
    names = list(known) if networks.strip() == "all" else [name.strip() for name in networks.split(",") if name.strip()]
    if unknown := [name for name in names if name not in known] or ([] if names else [networks]):
        near = difflib.get_close_matches(unknown[0], known, n=1) or known
        raise ConfigError("Unknown network", where="--networks", value=unknown[0], remedy=", ".join(near))
    return {name: known[name] for name in names}


def _specs(cases: Mapping[str, ToyCase], hidden: int, batch: int, seed: int) -> dict[str, RecurrentSpec]:
    from course.toy_training import toy_spec

    return {name: toy_spec(case, hidden, batch, seed) for name, case in cases.items()}


def _teach(
    task: Task, cases: Mapping[str, ToyCase], specs: Mapping[str, RecurrentSpec], updates: int,
    rates: list[float] | None = None,
) -> dict[str, Learned]:  # fmt: skip
    """Train the networks one after another; a network that diverges is left out, unless all diverge."""
    from course.toy_training import best_of_rates

    learned, lost = {}, {}
    for name, spec in specs.items():
        own = rates or [spec.training.learning_rate]
        try:
            one = learned[name] = checked(lambda: best_of_rates(task, spec, own, updates, cases[name].build))  # noqa: B023
        except Diverged as error:
            lost[name] = error
            log.warning("%-16s diverged: %s", name, error)
            continue
        right = 100 * one.final.exact
        log.info("%-16s %.1f %% right after %d updates, %.1f CPU s", name, right, one.updates, one.seconds)
    if not learned:
        raise next(iter(lost.values()))
    if lost:
        terminal.say(f"Left out, because they diverged: {', '.join(lost)}")
    return learned


def _by_carry(task: Addition, learned: dict[str, Learned]) -> list[dict[str, Any]]:
    """Return one row per length of the longest carry: number of held-out pairs, and share of correct sums."""
    import numpy as np

    from course.toy_training import CHECKED, measure

    pairs = task.held_out_pairs(10 * CHECKED)
    longest = task.longest_carry(pairs)
    rows = []
    for carry in np.unique(longest).tolist():
        examples = task.examples(pairs[longest == carry])
        right = {name: measure(one.network, examples).exact for name, one in learned.items()}
        rows.append({"longest carry": carry, "pairs": len(examples.ids_BT), **right})
    return rows


def _finish(
    name: str, title: str, chance: float, settings: dict[str, Any], learned: dict[str, Learned],
    tables: dict[str, list[dict[str, Any]]], config: RunConfig | None, out: Any, as_json: bool,
    more: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:  # fmt: skip
    from course.figures import learning_figure
    from course.tables import learning_table

    table = [{**row, **(more or {}).get(row["network"], {})} for row in learning_table(learned)]
    metrics = {f"{row['network']}/{column}": float(row[column]) for row in table for column in ("exact", "updates")}
    figures = {name: learning_figure({key: one.curve for key, one in learned.items()}, title, chance)}
    titles = {name: title, "addition_by_carry": "Held-out sums right, by the bits over which the longest carry is kept"}
    hand_over(config, Finding(name, settings, metrics, {name: table, **tables}, figures, titles), out, as_json)
