"""A text is typed on a terminal: keys change it, the best word completes it, and the terminal is as before."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from types import SimpleNamespace

import pytest

from reviewlm.typing_line import TypedLine, keys_in, press_keys
from tests.programs import command

COMPLETED = SimpleNamespace(
    words=[("great", 0.9), ("green", 0.09), ("grey", 0.0001)],
    typed="gre",
    space="",
)
FOLLOWING = SimpleNamespace(
    words=[("so", 0.2), ("cold", 0.1)],
    typed="",
    space=" ",
)
NONE = SimpleNamespace(
    words=[],
    typed="",
    space="",
)


def pressed(text: str, suggestions: SimpleNamespace, *keys: str) -> str:
    line = TypedLine(text, suggestions)
    for key in keys:
        line.press(key)
    return line.text


@pytest.mark.parametrize(
    ("text", "suggestions", "keys", "wanted"),
    [
        ("the food was gre", COMPLETED, ["\t"], "the food was great "),
        ("the food was gre", COMPLETED, ["\x1b[C"], "the food was great "),
        ("the food was gre", COMPLETED, ["\x1b[B", "\t"], "the food was green "),
        ("the food was gre", COMPLETED, ["\x1b[B", "\x1b[B", "\t"], "the food was great "),
        ("the food was gre", COMPLETED, ["\x1b[A", "\t"], "the food was green "),
        ("the food was", FOLLOWING, ["\t"], "the food was so "),
        ("the food was", FOLLOWING, ["\t", " ", "g"], "the food was so g"),
        ("the food was gre", COMPLETED, ["\t", "."], "the food was great."),
        ("the food was gre", COMPLETED, ["\t", "(", " "], "the food was great ( "),
        ("the food was ", NONE, [" "], "the food was  "),
        ("xyz", NONE, ["\t", "\x1b[A"], "xyz"),
        ("the fod", NONE, ["\x7f", "o", "d", "é"], "the foodé"),
        ("the food was", NONE, ["\x17"], "the food"),
        ("the food was", NONE, ["\x15"], ""),
        ("the", NONE, ["\x1b[D", "\x01"], "the"),
    ],
)
def test_a_key_changes_the_text(
    text: str,
    suggestions: SimpleNamespace,
    keys: list[str],
    wanted: str,
) -> None:
    assert pressed(text, suggestions, *keys) == wanted


def test_two_words_taken_at_once_are_each_of_the_text_before_it() -> None:
    asked: list[str] = []

    def suggest(text: str) -> SimpleNamespace:
        asked.append(text)
        space = "" if text.endswith(" ") else " "
        return SimpleNamespace(
            words=[(f"word{len(asked)}", 0.5)],
            typed="",
            space=space,
        )

    line = TypedLine()
    assert press_keys(line, ["a", "\t", "\t", "b", "\n", "c"], suggest)
    assert line.text == "a word1 word2 b"
    assert asked == ["a", "a word1 "]


def test_words_too_improbable_to_show_are_not_offered() -> None:
    assert [word for word, _ in TypedLine("gre", COMPLETED).words] == ["great", "green"]


def test_a_paste_is_parted_into_letters_with_sequences_kept_whole() -> None:
    assert keys_in("a\x1b[Cß\t") == ["a", "\x1b[C", "ß", "\t"]


@pytest.mark.parametrize("columns", [20, 80])
def test_what_is_drawn_fits_the_terminal(columns: int) -> None:
    line = TypedLine("so the food was " * 9 + "gre", COMPLETED)
    first, second = line.draw(columns).split("\n")
    shown = first.replace("\r\x1b[J", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
    assert len(shown) <= columns
    assert "great" in second


def test_a_text_is_typed_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("type_on_terminal"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    said = b""
    try:
        for expected, keys in (
            (b"Enter ends", "Crème was g".encode()),
            (b"was g", b"\t"),
            (b"great ", b"\n"),
            (b"<", b""),
        ):
            until = time.monotonic() + 60
            while expected not in said and time.monotonic() < until:
                if select.select([ours], [], [], 1)[0]:
                    said += os.read(ours, 4096)
            os.write(ours, keys)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
    assert "<Crème was great >" in said.decode()
