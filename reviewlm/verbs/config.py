"""Define the commands that show what can be configured: presets, and settings with their values and meaning."""

from __future__ import annotations

import difflib
from typing import Annotated

import typer

from reviewlm import shell_words, terminal
from reviewlm.core.errors import ConfigError
from reviewlm.options import Json, Preset, Set, load_configuration

app = typer.Typer(
    no_args_is_help=True, help="Show presets, and the values, ranges and meaning of settings."
)
IDENTITY = ("kind", "name")
"""Settings that say what an entry is; they have no usual value."""


@app.command()
def presets(json: Json = False) -> None:
    """List the presets with what each fits: models or classifiers. A preset is a TOML file with settings for --preset."""
    from reviewlm.core.config.presets import PRESETS, load_config, preset_names, purpose

    configs = {name: load_config(name) for name in preset_names()}
    rows = []
    for name, config in configs.items():
        fitted = config.classification.models or config.models
        rows.append(
            {
                "preset": name,
                "purpose": purpose(name),
                "models": ", ".join(model.name for model in fitted),
            }
        )

    terminal.show_rows(rows, f"Presets in {PRESETS}")
    terminal.last_line({"presets": rows}, json)


@app.command("show")
def show(
    part: Annotated[
        str,
        typer.Argument(
            help="Only settings whose name contains this. Default: all.",
            autocompletion=shell_words.settings,
        ),
    ] = "",
    changed: Annotated[
        bool, typer.Option("--changed", help="Only settings that differ from their default.")
    ] = False,
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Show the values of all settings of a preset, after --set; those that differ from their default have a mark.

    \b
    Examples:
      reviewlm config show --changed --preset demo
      reviewlm config show models.lstm
    """
    from reviewlm.described_settings import described_settings

    settings = []
    for key, one, value in described_settings(load_configuration(preset, set)):
        if part in key:
            settings.append(
                {
                    "setting": key,
                    "value": value,
                    "changed": value != one.default and one.name not in IDENTITY,
                }
            )

    rows = [row for row in settings if row["changed"] or not changed]
    for row in rows:
        terminal.say(f"{'*' if row['changed'] else ' '} {row['setting']} = {row['value']}")

    terminal.say(f"{len(rows)} settings; * differs from its default")
    terminal.last_line({"preset": preset, "settings": rows}, json)


@app.command("list")
def list_settings(
    word: Annotated[
        str, typer.Argument(help="Only settings with this word in name or meaning. Default: all.")
    ] = "",
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """List settings with the beginning of their meaning; `config explain SETTING` shows all of it.

    \b
    Example:
      reviewlm config list dropout
    """
    from reviewlm.described_settings import described_settings

    rows = []
    for key, one, _ in described_settings(load_configuration(preset, set)):
        if word.lower() in f"{key} {one.meaning}".lower():
            rows.append(
                {
                    "setting": key,
                    "default": one.default,
                    "meaning": one.meaning,
                }
            )

    short = [{**row, "meaning": row["meaning"].split(". ")[0]} for row in rows]
    terminal.show_rows(short, empty=f"No setting has '{word}' in its name or meaning.")
    terminal.last_line({"settings": rows}, json)


@app.command("explain")
def explain(
    setting: Annotated[
        str,
        typer.Argument(
            help="Name as in --set, such as promotion.confidence, models.lstm.hidden.",
            autocompletion=shell_words.settings,
        ),
    ],
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Explain one setting: its value in the preset, its default, its values and range, and what it is for.

    \b
    Examples:
      reviewlm config explain promotion.confidence
      reviewlm config explain models.lstm.hidden
    """
    from reviewlm.described_settings import described_settings

    settings = {
        key: (one, value) for key, one, value in described_settings(load_configuration(preset, set))
    }
    if setting not in settings:
        inside = [key for key in settings if key.rpartition(".")[2] == setting.rpartition(".")[2]]
        near = inside or difflib.get_close_matches(setting, settings, n=3)
        remedy = "see `reviewlm config list`"
        if near:
            remedy = f"did you mean {' or '.join(near[:6])}?"

        raise ConfigError("There is no such setting", where=setting, remedy=remedy)

    one, value = settings[setting]
    facts = {
        "setting": setting,
        "value": value,
        "default": one.default,
        "values": one.values,
    }
    shown = f"{facts['value']}  (preset {preset}{', --set' if set else ''})"
    terminal.show_facts({**facts, "value": shown})
    terminal.say(f"\n{one.meaning}")
    terminal.last_line(
        {
            **facts,
            "preset": preset,
            "meaning": one.meaning,
        },
        json,
    )
