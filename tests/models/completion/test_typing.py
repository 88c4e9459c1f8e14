"""What a typist's next letter costs: only what was not read for the letters before."""

from dataclasses import replace

import numpy as np
import pytest
from table_lm import HistoryLM
from test_suggestions import Counted, letters_only

from models.completion import reading
from models.completion.dasher import intervals
from models.completion.reading import PrefixReader, Readers
from models.completion.spellings import EXACT, QUICK
from models.completion.suggestions import suggest
from models.tokens.vocabulary import BOS, STARS

TEXT = "so it is so it"


def counting(unit):
    bundle = letters_only(unit)
    counted = Counted(bundle.model)
    return replace(bundle, model=counted), counted


def typed(bundle, readers, cutoffs=QUICK):
    """The answers for each beginning of a text."""
    return [
        suggest(bundle, TEXT[:end], 5, both=True, readers=readers, cutoffs=cutoffs).as_json()
        for end in range(1, len(TEXT) + 1)
    ]


@pytest.mark.parametrize("unit", ["bpe", "unigram", "char"])
def test_searches_that_share_their_readings_answer_the_same_and_read_less(unit):
    bundle, counted = counting(unit)
    alone = typed(bundle, None)
    rows, counted.rows = counted.rows, 0
    assert typed(bundle, readers := Readers(bundle)) == alone
    assert counted.rows < 0.7 * rows
    counted.rows = 0
    assert typed(bundle, readers) == alone
    assert counted.rows == 0


def test_quick_and_exact_searches_of_all_ratings_share_readings_without_mixing_answers():
    bundle, _ = counting("bpe")
    rated = replace(bundle, stars_prior=(0.0, 0.2, 0.2, 0.2, 0.2, 0.2))
    readers = Readers(rated)
    for stars in (None, 5, 0, None):
        for cutoffs in (QUICK, EXACT):
            shared = suggest(rated, "so i", 5, stars, True, readers, cutoffs)
            alone = suggest(rated, "so i", 5, stars, True, None, cutoffs)
            assert [word for word, _ in shared.words] == [word for word, _ in alone.words]
            assert dict(shared.words) == pytest.approx(dict(alone.words), rel=1e-6)


def test_intervals_for_pointing_share_readings_with_suggestions():
    bundle, counted = counting("bpe")
    readers = Readers(bundle)
    first = [each.probability for each in intervals(bundle, "so i", readers=readers)]
    rows, counted.rows = counted.rows, 0
    assert [each.probability for each in intervals(bundle, "so i", readers=readers)] == first
    assert (rows > 0, counted.rows) == (True, 0)


def test_what_was_not_used_for_longest_is_forgotten_and_read_again(monkeypatch):
    counted = Counted(HistoryLM.random(16))
    monkeypatch.setattr(reading, "KEPT_BYTES", 3 * 8 * 16)  # three distributions
    reader, begin = PrefixReader(counted), (BOS, STARS[0])
    texts = [(*begin, first) for first in range(9, 14)]
    for ids in texts:
        reader([ids])
    reader([texts[0]])  # the oldest, but just used
    reader.forget_oldest()
    rows = counted.rows
    reader([texts[0], texts[3], texts[4]])
    assert counted.rows == rows
    again, expected = reader(texts), PrefixReader(counted.model)(texts)
    assert counted.rows > rows
    for read, fresh in zip(again, expected, strict=True):
        np.testing.assert_allclose(read.p_V, fresh.p_V, rtol=1e-6)


@pytest.mark.parametrize("unit", ["bpe", "unigram"])
def test_quick_words_after_a_typed_one_count_by_the_probability_that_it_is_finished(unit):
    """Both readings of "so i" are one list to a typist: what is below a thousandth of it is not looked for."""
    bundle, counted = counting(unit)
    found = {}
    for name, cutoffs in (("joint", QUICK), ("apart", replace(QUICK, joint=False))):
        counted.rows = 0
        found[name] = suggest(bundle, "so i", 20, both=True, cutoffs=cutoffs), counted.rows
    (joint, fewer), (apart, more) = found["joint"], found["apart"]
    assert fewer < more
    after = joint.otherwise if joint.typed else joint
    before = apart.otherwise if apart.typed else apart
    assert joint.finished == apart.finished > 0
    counts = {word for word, p in before.words if p * joint.finished > QUICK.word}
    assert counts <= {word for word, _ in after.words}
