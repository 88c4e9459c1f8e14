"""Complete presets and models on the command line of a shell (`reviewlm --install-completion`).

A shell calls these at the Tab key and shows what they return, so they never fail: without a home there is no model.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

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
        from reviewlm.tracking.registry.opening import tracker_at
        from reviewlm.tracking.registry.versions import model_names

        names = model_names(tracker_at(load_config()))
        return [(name, "registered model") for name in names if name.startswith(incomplete)]
    return []


def models(incomplete: str) -> list[tuple[str, str]]:
    """Return aliases and names of registered models that begin as typed."""
    aliases = [pair for pair in ALIASES.items() if pair[0].startswith(incomplete)]
    return aliases + registered_models(incomplete)
