"""A name is one wherever it comes from: in settings, a bundle, an argument, an address."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import ConfigError
from reviewlm.models.options import require_name

HOSTILE = {
    "climbing path": "../../x",
    "absolute path": "/etc/passwd",
    "windows path": "..\\x",
    "drive": "C:x",
    "nul": "a\0b",
    "newline": "a\nb",
    "carriage return": "a\rb",
    "escape sequence": "\x1b[31mred",
    "bidi": "a\u202eb",
    "invisible": "a\u200bb",
    "300 characters": "a" * 300,
    "too many bytes": "\u4e2d" * 90,
    "empty": "",
    "blank": "  ",
    "leading dot": ".hidden",
    "dots": "..",
    "leading dash": "-rf",
    "leading space": " a",
    "trailing space": "a ",
    "trailing dot": "a.",
    "formula": "=1+1",
    "at": "@a",
    "plus": "+a",
    "quote": "a'b",
    "double quote": 'a"b',
    "back-tick": "a`b",
    "tag": "<script>",
    "star": "a*",
    "question mark": "a?",
    "surrogate": "a\udce9",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_name_that_could_do_harm_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="thing is "):
        require_name(name, "thing")


SETTINGS = ("models.0.name", "promotion.model_name")


@pytest.mark.parametrize("key", SETTINGS)
@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE.keys())
def test_settings_that_name_something_refuse_it(key: str, name: str) -> None:
    if name.isprintable():
        text = json.dumps(name)
    else:
        text = (
            '"'
            + "".join(
                f"\\u{ord(sign):04x}" if not "\ud800" <= sign <= "\udfff" else sign for sign in name
            )
            + '"'
        )
    with pytest.raises(ConfigError) as error:
        load_config("small", [f"{key}={text}"])
    assert error.value.exit_code == 2
    assert all(line.isprintable() for line in str(error.value).split("\n"))


ODD_NAMES = pytest.mark.parametrize("name", ["../../x", "a\0b", "a" * 300, "-rf", ".x"])


@ODD_NAMES
def test_a_vocabulary_of_such_a_name_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    table = f'[vocabulary.{json.dumps(name)}]\nunit = "word"\n'
    file.write_text(f'extends = "small"\n{table}', encoding="utf-8")
    with pytest.raises(ConfigError):
        load_config(str(file))


@ODD_NAMES
def test_a_file_that_extends_a_preset_of_such_a_name_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(f"extends = {json.dumps(name)}\n", encoding="utf-8")
    with pytest.raises(ConfigError):
        load_config(str(file))


@ODD_NAMES
def test_a_preset_of_such_a_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="preset"):
        load_config(name)
