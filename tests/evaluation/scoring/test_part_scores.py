"""A pass over a mixture leaves the scores of its parts, which are those of a pass over each part, to the byte."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from evaluation.scoring.part_scores import PartScores
from evaluation.scoring.score import FIGURES_FILE, SCORES_FILE, TOKEN_NATS, record_scores, score_stream
from models.bundles.bundle import Bundle
from models.mixture.lm import MixtureLM
from models.mixture.parts import Part
from models.mixture.weights import Fixed
from models.streams import TokenStream, write_stream
from tests.models.table_lm import HistoryLM, TableLM, TableSpec

OBSERVED = [3, 5, 41]
WEIGHTS = np.array([0.3, 0.7])
DIGESTS = {"first": "d1", "second": "d2"}


class ReadOnce(HistoryLM):
    """A model that may be asked for no score."""

    def score(self, ids_BT, state):
        raise AssertionError("this text was read before")


@pytest.fixture
def parts(vocabulary):
    first, second = HistoryLM.random(vocabulary.size, 1), TableLM.random(vocabulary.size, 2)
    return [Part("first", TableSpec(), first), Part("second", TableSpec(), second)]


@pytest.fixture
def mixture(parts, vocabulary):
    return Bundle(TableSpec(), vocabulary, MixtureLM(parts, Fixed(WEIGHTS)), {"parts": DIGESTS}, "dm")


@pytest.fixture
def beside(tmp_path):
    return PartScores(tmp_path / "beside")


def recorded(bundle, stream, folder, **options):
    folder.mkdir()
    facts = record_scores(bundle, stream, folder, OBSERVED, **options)
    return facts, {file.name: file.read_bytes() for file in folder.iterdir()}


def without_seconds(facts):
    return {name: value for name, value in facts.items() if name != "score_seconds"}


@pytest.mark.parametrize("place", [0, 1])
def test_the_files_of_a_part_are_those_of_its_own_pass_and_no_text_is_read_again(
    mixture, parts, vocabulary, stream, beside, tmp_path, place
):
    part = parts[place]
    alone = Bundle(part.spec, vocabulary, part.model, {}, DIGESTS[part.name])
    expected, files = recorded(alone, stream, tmp_path / "alone")
    assert files.keys() == {SCORES_FILE, TOKEN_NATS, FIGURES_FILE}
    recorded(mixture, stream, tmp_path / "mixture", beside=beside)
    unread = replace(alone, model=ReadOnce(part.model.p_VV))
    found, taken = recorded(unread, stream, tmp_path / "taken", beside=beside)
    assert without_seconds(found) == without_seconds(expected)
    assert taken == files


def test_the_mixture_has_the_files_of_a_pass_without_its_parts(mixture, stream, beside, tmp_path):
    expected, files = recorded(mixture, stream, tmp_path / "alone")
    found, same = recorded(mixture, stream, tmp_path / "both", beside=beside)
    assert without_seconds(found) == without_seconds(expected)
    assert same == files


@pytest.mark.parametrize("width", [1, 7, 100])
def test_texts_that_are_cut_give_a_part_the_same_scores(mixture, parts, vocabulary, stream, beside, tmp_path, width):
    score_stream(mixture, stream, observed=OBSERVED, tokens_per_batch=width, beside=beside)
    for part in parts:
        (folder := tmp_path / part.name).mkdir()
        bundle = Bundle(part.spec, vocabulary, part.model)
        score_stream(bundle, stream, folder, observed=OBSERVED, tokens_per_batch=width)
        place = beside.place(DIGESTS[part.name], stream)
        for file in (SCORES_FILE, TOKEN_NATS):
            assert (place / file).read_bytes() == (folder / file).read_bytes()


def test_the_seconds_of_a_part_are_those_in_the_part(mixture, parts, vocabulary, stream, beside, tmp_path, monkeypatch):
    """Here a clock that ticks once whenever it is read: around the pass, the mixture, and each part."""
    ticks = iter(range(1_000_000))
    for module in ("score", "part_scores"):
        monkeypatch.setattr(f"evaluation.scoring.{module}.perf_counter", lambda: float(next(ticks)))
    whole, _ = recorded(mixture, stream, tmp_path / "mixture", beside=beside)
    first, second = (
        recorded(Bundle(part.spec, vocabulary, part.model, {}, DIGESTS[part.name]), stream, tmp_path / part.name,
                 beside=beside)[0]["score_seconds"]
        for part in parts
    )  # fmt: skip
    assert first == second == 1.0, "one batch: the clock is read before and after each part"
    assert whole["score_seconds"] == 7.0, "and before and after the mixture and the pass: eight times"


def test_scores_are_taken_for_this_bundle_and_this_stream_only_and_once(
    mixture, parts, vocabulary, stream, reviews, beside, tmp_path
):
    write_stream(tmp_path / "other", vocabulary, [reviews.reverse()])
    other = TokenStream.open(tmp_path / "other")
    score_stream(mixture, stream, observed=OBSERVED, beside=beside)
    assert beside.is_kept("d1", stream)
    assert beside.is_kept("d2", stream)
    assert not beside.is_kept("dm", stream), "its own scores are the result"
    assert not beside.is_kept("d1", other)
    recorded(Bundle(TableSpec(), vocabulary, parts[0].model, {}, "d1"), stream, tmp_path / "taken", beside=beside)
    assert not beside.is_kept("d1", stream)
    assert beside.is_kept("d2", stream)


def test_of_two_mixtures_with_one_part_the_first_keeps_its_scores_and_they_are_whole(
    mixture, stream, beside, tmp_path
):
    with beside.kept("d1", stream, 1.0) as folder:
        assert not beside.is_kept("d1", stream), "half done"
        score_stream(mixture, stream, observed=OBSERVED, beside=beside)
        (folder / SCORES_FILE).write_text("late")
    assert {place.name for place in (tmp_path / "beside").iterdir()} == {
        beside.place(digest, stream).name for digest in ("d1", "d2")
    }
    beside.take("d1", stream, tmp_path)
    assert (tmp_path / SCORES_FILE).read_bytes() != b"late"


def test_scores_that_are_kept_while_others_are_taken_stay_whole(mixture, stream, beside, tmp_path, monkeypatch):
    score_stream(mixture, stream, observed=OBSERVED, beside=beside)
    move, files = shutil.move, []

    def beside_another(file, target):
        files.append(target.name)
        if len(files) == 1:
            score_stream(mixture, stream, observed=OBSERVED, beside=beside)
        return move(file, target)

    monkeypatch.setattr("evaluation.scoring.part_scores.shutil.move", beside_another)
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        beside.take("d1", stream, tmp_path / folder)
        assert {file.name for file in (tmp_path / folder).iterdir()} == {SCORES_FILE, TOKEN_NATS}


def test_scores_that_were_not_finished_leave_nothing(stream, beside, tmp_path):
    with pytest.raises(OSError, match="full"), beside.kept("d1", stream, 1.0):
        raise OSError("full")
    assert list((tmp_path / "beside").iterdir()) == []


@pytest.mark.parametrize("why", ["no digests", "no mixture", "not asked for"])
def test_other_passes_leave_no_scores_of_parts(mixture, parts, stream, beside, tmp_path, why):
    bundle = {
        "no digests": replace(mixture, facts={"parts": {"first": "d1"}}),
        "no mixture": replace(mixture, model=parts[0].model),
        "not asked for": mixture,
    }[why]
    score_stream(bundle, stream, tmp_path, beside=None if why == "not asked for" else beside)
    assert not (tmp_path / "beside").exists()
