"""Languages, authors and genres told by a character model for each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from reviewlm.course.uses import origin
from reviewlm.course.uses.origin import (
    LabelledTexts,
    bayes,
    confusions,
    langid,
    read_labelled,
    right_share,
)

GERMAN = [
    "der Kellner war sehr freundlich",
    "das Essen war kalt",
    "wir kommen gerne wieder",
    "die Suppe ist gut",
]
ENGLISH = [
    "the waiter was very friendly",
    "the food was cold",
    "we will come again",
    "this soup is really good",
]
KNOWN = LabelledTexts([*GERMAN, *ENGLISH] * 5, [*["de"] * 4, *["en"] * 4] * 5)


def test_sentences_with_other_words_are_told_by_their_letters() -> None:
    assert bayes(KNOWN)(["zu teuer und schlecht gewürzt", "too pricey with no taste"]) == [
        "de",
        "en",
    ]


def test_every_text_is_either_held_out_or_learnt() -> None:
    first, second = KNOWN.every(5, True), KNOWN.every(5, False)
    assert (len(first.texts), len(second.texts)) == (8, 32)
    assert sorted(first.texts + second.texts) == sorted(KNOWN.texts)


def test_the_figures_are_counted_over_texts() -> None:
    assert right_share(np.array([True] * 50), 1) == "1.000 (1.000 to 1.000)"
    rows = confusions(["a", "a", "b", "b"], ["b", "b", "a", "b"])
    assert [tuple(row.values()) for row in rows] == [("a", "b", 2), ("b", "a", 1)]


@pytest.mark.parametrize("line", ['{"text": "x"}', "x", "[]"])
def test_a_wrong_line_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "known.jsonl"
    file.write_text('{"text": "a", "label": "b"}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2"):
        read_labelled(file)


def test_the_command_answers_each_line_of_a_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    known, asked = tmp_path / "known.jsonl", tmp_path / "asked.txt"
    known.write_text(
        "".join(json.dumps({"text": a, "label": b}) + "\n" for a, b in zip(*KNOWN, strict=True)),
        encoding="utf-8",
    )
    asked.write_text("das Essen ist kalt\n\nthis food is cold\n", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["origin", "--train", str(known), "--text", str(asked)])
    origin.main()
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["de", "en"]
    known.write_text("", encoding="utf-8")
    with pytest.raises(SystemExit, match="fewer than two labels"):
        origin.main()


def test_the_peer_answers_only_for_languages() -> None:
    pytest.importorskip("py3langid")
    assert langid({"known author", "other author"}) is None
    peer = langid({"de", "en"})
    assert peer is not None
    assert peer(GERMAN + ENGLISH) == ["de"] * 4 + ["en"] * 4
