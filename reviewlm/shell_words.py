"""Complete presets and models on the command line of a shell (`reviewlm --install-completion`).

A shell calls these at the Tab key and shows what they return, so they never fail: without a home there is no model.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import typer

ALIASES = {
    "champion": "the model in use",
    "challenger": "registered, not decided yet",
    "previous": "the champion before",
}


def presets(incomplete: str) -> list[tuple[str, str]]:
    """Return presets that begin as typed, with their purpose, and files of presets."""
    from reviewlm.core.config.presets import preset_names, purpose

    named = [(name, purpose(name)) for name in preset_names() if name.startswith(incomplete)]
    folder = Path(incomplete).parent
    beginning = Path(incomplete).name
    with suppress(OSError):
        files = []
        if incomplete:
            files = sorted(folder.glob("*.toml"))

        named += [(str(file), "") for file in files if file.name.startswith(beginning)]
    return named


def registered_models(incomplete: str) -> list[tuple[str, str]]:
    """Return names of registered models that begin as typed."""
    with suppress(Exception):
        from reviewlm.core.config.presets import load_config
        from reviewlm.tracking.registry.locating import tracker_at
        from reviewlm.tracking.registry.versions import model_names

        names = model_names(tracker_at(load_config().workspace))
        return [(name, "registered model") for name in names if name.startswith(incomplete)]
    return []


def models(incomplete: str) -> list[tuple[str, str]]:
    """Return completions of a model's name: aliases, models of the champion's run, registered models."""
    words: dict[str, str] = {}
    with suppress(Exception):
        from reviewlm.core.config.presets import load_config
        from reviewlm.tracking.registry.locating import (
            asked_model,
            models_of_champions_run,
            tracker_at,
        )
        from reviewlm.tracking.registry.versions import contents_of

        config = load_config()
        tracker = tracker_at(config.workspace)
        name = asked_model(tracker, config.promotion.model_name)
        _, aliases = contents_of(tracker, name)
        words = {alias: ALIASES.get(alias, "alias") for alias in aliases}
        for model in models_of_champions_run(tracker, name):
            words.setdefault(model, "of the champion's run")

    named = [pair for pair in words.items() if pair[0].startswith(incomplete)]
    return named + registered_models(incomplete)


def settings(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Return the names of settings of the preset that begin as typed, with the beginning of their meaning."""
    with suppress(Exception):
        from reviewlm.core.config.presets import load_config
        from reviewlm.described_settings import described_settings

        config = load_config(context.params.get("preset") or "small")
        return [
            (key, one.meaning.split(". ")[0])
            for key, one, _ in described_settings(config)
            if key.startswith(incomplete)
        ]
    return []
