"""What a typist's next letter costs: only what was not read for the letters before."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from reviewlm.models.completion.reading import PrefixReader, Readers
from reviewlm.models.completion.spellings import QUICK
from reviewlm.models.completion.suggestions import suggest
from reviewlm.models.tokens.special import BOS, STARS
from tests.models.completion.test_suggestions import Counted, letters_only
from tests.models.table_lm import HistoryLM

TEXT = "so it is so it"


def counting(unit):
    """A model whose distribution depends on all tokens before, the rating included, and that counts what it reads."""
    bundle = letters_only(unit)
    counted = Counted(HistoryLM(bundle.model.p_VV))
    return replace(bundle, model=counted), counted


def typed(
    bundle,
    readers,
    cutoffs=QUICK,
):
    """The answers for each beginning of a text."""
    return [
        suggest(
            bundle,
            TEXT[:end],
            5,
            both=True,
            readers=readers,
            cutoffs=cutoffs,
        ).as_json()
        for end in range(1, len(TEXT) + 1)
    ]


@pytest.fixture(scope="module", params=["bpe", "unigram", "char"])
def searches(request):
    """A search alone, one that shares its readings, and that one again: their answers and the rows they have read."""
    bundle, counted = counting(request.param)
    readers = Readers(bundle)
    found = {}
    for name, shared in (("alone", None), ("sharing", readers), ("again", readers)):
        counted.rows = 0
        answers = typed(bundle, shared)
        found[name] = SimpleNamespace(answers=answers, rows=counted.rows)
    return found


def test_searches_that_share_their_readings_answer_the_same(searches):
    assert searches["sharing"].answers == searches["alone"].answers
    assert searches["again"].answers == searches["alone"].answers


def test_searches_that_share_their_readings_read_less(searches):
    assert searches["sharing"].rows < 0.7 * searches["alone"].rows


def test_a_repeated_search_reads_nothing(searches):
    assert searches["again"].rows == 0


def test_what_was_not_used_for_longest_is_forgotten():
    counted = Counted(HistoryLM.random(16))
    reader, begin = PrefixReader(counted), (BOS, STARS[0])
    texts = [(*begin, first) for first in range(9, 14)]
    for ids in texts:
        reader([ids])
    reader.forget_oldest(reader.bytes)  # more than half of it was read since the last time
    reader([texts[0]])
    rows = counted.rows
    reader.forget_oldest(reader.bytes / 4)
    reader([texts[0]])
    assert counted.rows == rows
    again, expected = reader(texts), PrefixReader(counted.model)(texts)
    assert counted.rows > rows
    for read, fresh in zip(again, expected, strict=True):
        np.testing.assert_allclose(read.p_V, fresh.p_V, rtol=1e-6)
    reader.forget_oldest(0)
    assert reader.bytes == 0
