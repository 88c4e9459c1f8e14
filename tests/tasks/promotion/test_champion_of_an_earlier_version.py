"""A champion whose vocabulary has no price for case and spaces is priced by the run's: none starts behind it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from core.config.run_config import RunConfig
from core.store import Artifact
from evaluation.gate.evidence import Evidence, ModelEvidence
from evaluation.gate.rules.comparability import same_reading
from models.specs import VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import EDITION, NormalForm
from models.tokens.vocabulary import FILE, Vocabulary
from tasks.promotion.champion_reviews import _scores
from tasks.promotion.evidence import editions, unfair
from tasks.promotion.score_now import Champion, Scored, with_surface
from tasks.table_file import TableFile

TEXTS = ["The Soup was good.", "the soup was COLD!", "I liked (most of) it."]


def vocabulary_in(folder: Path, priced: bool, lowercase: bool = True) -> Path:
    folder.mkdir()
    vocabulary = Vocabulary.train(TEXTS, VocabularySpec(min_count=1, lowercase=lowercase), NormalForm())
    values = json.loads(vocabulary.to_json())
    if not priced:
        del values["unit"]["surface"]
        values["format"], values["normal_form"]["edition"] = 1, 2
    Vocabulary.from_json(json.dumps(values)).save(folder / FILE)
    return folder


def run_of(folder: Path, lowercase: bool = True) -> tuple[list[Path], Any]:
    """The vocabulary of words of a run, and what returns the test reviews as its tokens."""
    where = vocabulary_in(folder, priced=True, lowercase=lowercase)
    write_stream(folder / "test", Vocabulary.load(where / FILE), [REVIEWS])
    return [where / FILE], {where / FILE: folder / "test"}.__getitem__


REVIEWS = pl.DataFrame({"review_id": ["a", "b", "c"], "text": TEXTS, "stars": [5, 1, 3]}).with_columns(
    bytes=pl.col("text").str.len_bytes().cast(pl.Int64) + 1
)
ROWS = pl.DataFrame({"review_id": ["c", "a", "b"], "nats": [9.0, 8.0, 7.0], "spelling_nats": [1.0, 0.0, 0.0],
                     "surface_nats": [0.0, 0.0, 0.0]})  # fmt: skip


def test_it_is_charged_what_the_texts_cost_by_the_vocabulary_of_the_run(tmp_path: Path) -> None:
    champion = vocabulary_in(tmp_path / "old", priced=False)
    rows, pays = with_surface(champion, ROWS, *run_of(tmp_path / "run"))
    documents = TokenStream.open(tmp_path / "run" / "test").documents
    surface = dict(documents.select("review_id", "surface_nats").iter_rows())
    assert pays
    assert rows["review_id"].to_list() == ["c", "a", "b"]
    assert rows["spelling_nats"].to_list() == pytest.approx([1 + surface["c"], surface["a"], surface["b"]])
    assert min(surface.values()) > 0


def test_it_stays_as_it_is_where_the_run_folds_otherwise_and_the_gate_says_so(tmp_path: Path) -> None:
    champion = vocabulary_in(tmp_path / "old", priced=False)
    rows, pays = with_surface(champion, ROWS, *run_of(tmp_path / "run", lowercase=False))
    assert not pays
    assert rows.equals(ROWS)


def test_one_that_pays_for_itself_is_not_charged_twice(tmp_path: Path) -> None:
    rows, pays = with_surface(vocabulary_in(tmp_path / "new", priced=True), ROWS, *run_of(tmp_path / "run"))
    assert pays
    assert rows.equals(ROWS)


def test_the_gate_says_that_a_champion_without_a_price_is_too_good() -> None:
    evidence = Evidence(ModelEvidence("new"), ModelEvidence("old", pays=False))
    case: Any = SimpleNamespace(evidence=evidence, policy=SimpleNamespace(allow_other_reading=False))
    found = same_reading(case)
    assert found.passed
    assert "the champion's figures leave out case and spacing" in found.detail


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


def form_in(folder: Path, **form: Any) -> Path:
    """A vocabulary with a normal form as a file has it: what is left out is what its version did not know."""
    vocabulary_in(folder, priced=True)
    values = json.loads((folder / FILE).read_text())
    values["normal_form"] = form
    (folder / FILE).write_text(json.dumps(values))
    return folder


FIRST = {"unescape_entities": True, "mask_personal_data": True}
REPAIRS = {"repair_encoding": True, "restore_breaks": True}


@pytest.mark.parametrize(("form", "fair"), [
    (FIRST, True), ({**FIRST, **REPAIRS, "edition": 2}, True), ({**FIRST, **REPAIRS, "edition": 3}, True),
    ({**FIRST, "mask_personal_data": False}, False), ({**FIRST, "edition": 2}, False),
    ({**FIRST, **REPAIRS, "mask_personal_data": False, "edition": 2}, False),
])  # fmt: skip
def test_a_later_edition_is_no_other_choice_and_is_told(tmp_path: Path, form: dict[str, Any], fair: bool) -> None:
    ours, theirs = vocabulary_in(tmp_path / "ours", priced=True), form_in(tmp_path / "theirs", **form)
    assert (unfair(ours, theirs) == "") is fair
    edition = form.get("edition", 1)
    assert (editions(ours, theirs) == "") is (edition == EDITION)
    evidence = Evidence(ModelEvidence("new"), ModelEvidence("old"), editions=editions(ours, theirs))
    case: Any = SimpleNamespace(evidence=evidence, policy=SimpleNamespace(allow_other_reading=False))
    assert (f"trained on edition {edition}" in same_reading(case).detail) is (edition < EDITION)


def test_on_its_own_reviews_it_is_charged_too_whatever_the_vocabulary_of_the_challenger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A challenger of characters has no price for case; the words of its run have."""
    words, champion = vocabulary_in(tmp_path / "words", priced=True), vocabulary_in(tmp_path / "old", priced=False)
    challenger, chosen = tmp_path / "challenger", tmp_path / "chosen"
    for folder in (challenger, chosen):
        folder.mkdir()
    Vocabulary.train(TEXTS, VocabularySpec(unit="char", size=300, min_count=1), NormalForm()).save(challenger / FILE)
    REVIEWS.write_parquet(chosen / "clean.parquet")

    def tokens(config: Any, file: str, split: str, reviews: Artifact, label: str) -> Any:
        folder = tmp_path / f"tokens {Path(file).parent.name}"
        write_stream(folder, Vocabulary.load(Path(file)), [pl.read_parquet(reviews.folder / "clean.parquet")])
        return Artifact("tokens", folder.name, str(folder))

    def scores(config: Any, bundle: Path, stream: Artifact, label: str) -> Any:
        rows = TokenStream.open(stream.folder).documents.with_columns(nats=pl.lit(10.0))
        return None, Scored(TableFile.written(rows, RunConfig()))

    room = "tasks.promotion.champion_reviews"
    monkeypatch.setattr(f"{room}.tokenize", tokens)
    monkeypatch.setattr(f"{room}.score_bundle_now", scores)
    monkeypatch.setattr(f"{room}.registry_of", lambda config: SimpleNamespace(bundle_folder=lambda version: challenger))
    none = Scored(TableFile.written(ROWS.join(REVIEWS, on="review_id").clear(), RunConfig()))
    made: Any = SimpleNamespace(fitted=SimpleNamespace(bundle=challenger))
    run: Any = SimpleNamespace(
        vocabularies={"words": SimpleNamespace(folder=words)},
        tokens={"words": {"test": SimpleNamespace(folder=tmp_path / "of today")}},
    )
    ours, theirs = _scores(
        RunConfig(), run, Artifact("", "", str(chosen)), made, none, Champion(1, "old", champion, scored=none), 2
    )
    assert ours["spelling_nats"].to_list() == [0, 0, 0]
    charged = TokenStream.open(tmp_path / "tokens words").documents["surface_nats"]
    assert theirs["spelling_nats"].to_list() == pytest.approx(charged.to_list())
    assert min(charged) > 0
