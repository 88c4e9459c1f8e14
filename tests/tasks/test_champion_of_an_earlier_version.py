"""A champion whose vocabulary has no price for case and spaces is priced by the run's: none starts behind it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from evaluation.gate.rules.comparability import same_reading
from models.specs import VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import FILE, Vocabulary
from tasks.promotion.evidence import unfair
from tasks.promotion.score_now import with_surface

TEXTS = ["The Soup was good.", "the soup was COLD!", "I liked (most of) it."]


def vocabulary_in(folder: Path, priced: bool, lowercase: bool = True) -> Path:
    folder.mkdir()
    vocabulary = Vocabulary.train(TEXTS, VocabularySpec(min_count=1, lowercase=lowercase), NormalForm())
    values = json.loads(vocabulary.to_json())
    if not priced:
        del values["unit"]["surface"]
        values["format"] = 1
    Vocabulary.from_json(json.dumps(values)).save(folder / FILE)
    return folder


def run_of(folder: Path, lowercase: bool = True) -> list[tuple[Path, Path]]:
    """The vocabulary of words of a run, and the test reviews as its tokens."""
    where = vocabulary_in(folder, priced=True, lowercase=lowercase)
    reviews = pl.DataFrame({"review_id": ["a", "b", "c"], "text": TEXTS, "stars": [5, 1, 3]})
    reviews = reviews.with_columns(bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1)
    write_stream(folder / "test", Vocabulary.load(where / FILE), [reviews])
    return [(where / FILE, folder / "test")]


ROWS = pl.DataFrame({"review_id": ["c", "a", "b"], "nats": [9.0, 8.0, 7.0], "spelling_nats": [1.0, 0.0, 0.0],
                     "surface_nats": [0.0, 0.0, 0.0]})  # fmt: skip


def test_it_is_charged_what_the_texts_cost_by_the_vocabulary_of_the_run(tmp_path: Path) -> None:
    streams, champion = run_of(tmp_path / "run"), vocabulary_in(tmp_path / "old", priced=False)
    rows, pays = with_surface(champion, ROWS, streams)
    documents = TokenStream.open(tmp_path / "run" / "test").documents
    surface = dict(documents.select("review_id", "surface_nats").iter_rows())
    assert pays
    assert rows["review_id"].to_list() == ["c", "a", "b"]
    assert rows["spelling_nats"].to_list() == pytest.approx([1 + surface["c"], surface["a"], surface["b"]])
    assert min(surface.values()) > 0


def test_it_stays_as_it_is_where_the_run_folds_otherwise_and_the_gate_says_so(tmp_path: Path) -> None:
    champion = vocabulary_in(tmp_path / "old", priced=False)
    rows, pays = with_surface(champion, ROWS, run_of(tmp_path / "run", lowercase=False))
    assert not pays
    assert rows.equals(ROWS)


def test_one_that_pays_for_itself_is_not_charged_twice(tmp_path: Path) -> None:
    rows, pays = with_surface(vocabulary_in(tmp_path / "new", priced=True), ROWS, run_of(tmp_path / "run"))
    assert pays
    assert rows.equals(ROWS)


def test_the_gate_says_that_a_champion_without_a_price_is_too_good() -> None:
    evidence: Any = SimpleNamespace(unfair="", champion_digest="old", champion_pays=False)
    case: Any = SimpleNamespace(evidence=evidence, policy=SimpleNamespace(allow_other_reading=False))
    found = same_reading(case)
    assert found.passed
    assert "the champion's figures leave case and spacing free" in found.detail


@pytest.mark.parametrize(("ours", "theirs", "fair"), [
    ((True, True), (True, False), True), ((True, True), (False, False), True), ((False, True), (True, True), False),
    ((False, False), (True, True), False), ((False, False), (False, True), True),
    ((False, True), (False, False), False),
])  # fmt: skip
def test_only_a_challenger_that_leaves_more_free_than_the_champion_is_unfair(
    tmp_path: Path, ours: tuple[bool, bool], theirs: tuple[bool, bool], fair: bool
) -> None:
    """Each side: has it a price, and does it fold case?"""
    folders = [vocabulary_in(tmp_path / name, *each) for name, each in (("ours", ours), ("theirs", theirs))]
    assert (unfair(*folders) == "") is fair
