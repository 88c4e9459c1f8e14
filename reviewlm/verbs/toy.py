"""Define the commands that train small networks of every cell on tasks that need memory: addition and recall."""

from __future__ import annotations

import difflib
import logging
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
    from course.toy_training import Learned

log = logging.getLogger(__name__)
app = typer.Typer(no_args_is_help=True, help="Train small networks of every cell on tasks that need memory.")
Networks = Annotated[
    str, typer.Option("--networks", help="Between commas, e.g. 'tanh, lstm forget 3'. 'all': every cell and start.")
]
Hidden = Annotated[int, typer.Option("--hidden", min=1, help="Units of the one layer.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Examples per update.")]
Updates = Annotated[int, typer.Option("--updates", min=1, help="Maximum of updates; ends earlier without errors.")]
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

    task, names, config = checked(lambda: Addition(bits, seed)), _named(networks), tracked_at(preset, set, track)
    require_folder(out)
    learned = _teach(task, names, hidden, batch, updates, seed)
    tables = {"addition_by_carry": _by_carry(task, learned)}
    settings = {"bits": bits, "hidden": hidden, "batch": batch, "updates": updates, "seed": seed}
    _finish("addition", f"Sums of two numbers of {bits} bits, on held-out pairs", 0.5 ** (bits + 1), settings, learned,
            tables, config, out, as_json)  # fmt: skip


@app.command()
def recall(
    lag: Annotated[int, typer.Option("--lag", min=1, help="Steps between a symbol and the question about it.")] = 100,
    length: Annotated[int, typer.Option("--length", min=1, help="Symbols to remember; above 1: the copy task.")] = 1,
    symbols: Annotated[int, typer.Option("--symbols", min=2, help="Number of different symbols.")] = 4,
    distractors: Annotated[int, typer.Option("--distractors", min=1, help="Number of different distractors.")] = 4,
    networks: Networks = "all", hidden: Hidden = 64, batch: Batch = 32, updates: Updates = 1_500, seed: Seed = 1,
    out: Out = None, track: Track = False, preset: TrackPreset = "small", set: TrackSet = None, as_json: Json = False,
) -> None:
    """Train to remember symbols over a lag of random distractors."""
    from course.toy_tasks import Recall

    if length > lag:
        raise ConfigError("The questions would come before all symbols are shown", where="--length", value=length,
                          remedy=f"--length {lag} at most, or a --lag of {length} or more")  # fmt: skip
    task, names = checked(lambda: Recall(lag, length, symbols, distractors, seed)), _named(networks)
    config = tracked_at(preset, set, track)
    require_folder(out)
    learned = _teach(task, names, hidden, batch, updates, seed)
    settings = {"lag": lag, "length": length, "symbols": symbols, "distractors": distractors, "hidden": hidden,
                "batch": batch, "updates": updates, "seed": seed}  # fmt: skip
    title = f"Keeping {'a symbol' if length == 1 else f'{length} symbols'} of {symbols} over {lag} steps of distractors"
    chance = symbols ** -float(length)
    _finish("recall", title, chance, settings, learned, {}, config, out, as_json)


def _named(networks: str) -> list[str]:
    """Return the networks named in the option, or all networks for "all"."""
    from course.toy_training import CASES

    names = list(CASES) if networks.strip() == "all" else [name.strip() for name in networks.split(",") if name.strip()]
    if unknown := [name for name in names if name not in CASES] or ([] if names else [networks]):
        near = difflib.get_close_matches(unknown[0], CASES, n=1) or CASES
        raise ConfigError("Unknown network", where="--networks", value=unknown[0], remedy=", ".join(near))
    return names


def _teach(task: Task, names: list[str], hidden: int, batch: int, updates: int, seed: int) -> dict[str, Learned]:
    """Train the networks one after another; a network that diverges is left out, unless all diverge."""
    from course.toy_training import CASES, learn, toy_spec

    learned, lost = {}, {}
    for name in names:
        spec = toy_spec(CASES[name], hidden, batch, seed)
        try:
            one = learned[name] = checked(lambda: learn(task, spec, updates))  # noqa: B023
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
    more: dict[str, list[dict[str, Any]]], config: RunConfig | None, out: Any, as_json: bool,
) -> None:  # fmt: skip
    from course.figures import learning_figure
    from course.tables import learning_table

    table = learning_table(learned)
    metrics = {f"{row['network']}/{column}": float(row[column]) for row in table for column in ("exact", "updates")}
    figures = {name: learning_figure({key: one.curve for key, one in learned.items()}, title, chance)}
    titles = {name: title, "addition_by_carry": "Held-out sums right, by the bits over which the longest carry is kept"}
    hand_over(config, Finding(name, settings, metrics, {name: table, **more}, figures, titles), out, as_json)
