"""Write presets and overrides with odd values and structure; they must give a valid configuration or a ConfigError."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz.mutations import damaged
from reviewlm.core.config.presets import PRESETS, load_config, parse_config
from reviewlm.core.errors import ConfigError
from reviewlm.core.store import canonical
from reviewlm.tasks.fitting.search_space import parse_space

ODD = [
    "1",
    "0",
    "-1",
    "2",
    "0.5",
    "1e20",
    "1e-300",
    "inf",
    "nan",
    "-inf",
    "9" * 25,
    "9" * 5_000,
    "0x" + "f" * 4_000,
    "true",
    "false",
    '""',
    '"none"',
    '"x"',
    '"../../x"',
    '"\\u0000"',
    '"' + "n" * 400 + '"',
    "[]",
    "[1]",
    "[[1]]",
    "[1, inf]",
    "{}",
    "{a = 1}",
    "[" * 600 + "]" * 600,
    "2020-01-01",
    "1979-05-27T07:32:00Z",
    '"lstm"',
    '"word"',
    '"1..9"',
    '"1e-4..1e999:log"',
    "[true]",
    '["a", "b", "c"]',
    "'''\nx'''",
    "1_000",
    "0o17",
    '"2020-13-01"',
    '[{kind = "ngram"}]',
    '[{kind = "lstm", name = "kn5"}]',
]


MILD = ["1", "2", "3", "20", "0.5", "0.1", "true", "false", '"word"', '"none"', "[1]", "1e-3"]
"""Values that are valid for many settings."""


def settings(options: Any, prefix: str = "") -> Iterator[str]:
    """Yield the full names of all settings and sections."""
    pairs = (
        options.items()
        if isinstance(options, dict)
        else enumerate(options)
        if isinstance(options, list)
        else ()
    )
    for name, value in pairs:
        yield f"{prefix}{name}"
        yield from settings(value, f"{prefix}{name}.")


def _value(rng: Random) -> str:
    return rng.choice(MILD if rng.random() < 0.6 else ODD)


def make(rng: Random, case: Path) -> None:
    """Write a preset and overrides for it."""
    preset = rng.choice(sorted(PRESETS.glob("*.toml"))).read_text(encoding="utf-8")
    lines = preset.splitlines()
    for _ in range(rng.choice([0, 1, 1, 3])):
        place = rng.randrange(len(lines))
        name, equals, _ = lines[place].partition("=")
        kind = rng.randrange(5)
        if kind < 3 and equals:
            lines[place] = f"{name}= {_value(rng)}"
        elif kind == 3:
            lines.insert(rng.randrange(len(lines)), lines[place])
        else:
            del lines[place]
            lines = lines or [""]

    content = "\n".join(lines).encode("utf-8")
    (case / "preset.toml").write_bytes(damaged(rng, content) if rng.random() < 0.15 else content)
    known = list(settings(load_config("demo").model_dump(mode="json")))
    overrides = []
    for _ in range(rng.choice([0, 1, 2, 5])):
        name = rng.choice(known)
        if rng.random() < 0.1:
            name = damaged(rng, name.encode(), 1).decode("utf-8", "replace")
        overrides.append(f"{name}={_value(rng)}")

    if rng.random() < 0.2:
        space = rng.choice(["hidden", "training.learning_rate", "dropout", "kind", "x", "training"])
        overrides.append(f"sweep.space={{{space} = {rng.choice(ODD)}}}")

    (case / "overrides.json").write_text(json.dumps(overrides))


def check(case: Path, work: Path) -> str:
    """Read the configuration; an accepted one must be equal after it is written as JSON and read again."""
    config = load_config(
        str(case / "preset.toml"), json.loads((case / "overrides.json").read_text())
    )
    dumped = config.model_dump(mode="json")
    text = canonical(dumped)
    again = parse_config(json.loads(text))
    assert canonical(again.model_dump(mode="json")) == text, (
        "read again it is another configuration"
    )
    if config.sweep.space:
        try:
            parse_space(config.models[-1], config.sweep.space)
        except ConfigError:
            return "a space that makes no sense"

    return text.replace(str(case), "")
