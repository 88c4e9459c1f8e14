"""What a model is asked for that its training did not have is said, and nothing else is."""

import pytest

from reviewlm.models.bundles.bundle import Bundle, unseen_warnings
from tests.models.small_vocabularies import train
from tests.models.table_lm import TableLM, TableSpec


def bundle_of(unit):
    vocabulary = train(unit)
    return Bundle(TableSpec(), vocabulary, TableLM.random(vocabulary.size))


@pytest.mark.parametrize("unit", ["word", "bpe", "unigram", "char"])
@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Еда была", "Cyrillic"),
        ("το φαγητό", "Greek"),
        ("食べ物", "Japanese (Hiragana)"),
        ("食物", "Chinese (Han)"),
    ],
)
def test_a_script_that_the_vocabulary_has_no_letter_of_is_named(
    unit,
    text,
    script,
):
    said = unseen_warnings(bundle_of(unit), f"The food, {text}")
    assert any(f"letters in {script} script" in sentence for sentence in said)
    assert not any("Latin" in sentence for sentence in said)
    able = "cannot read them" if unit == "word" else "reads them as bytes and has seen hardly any"
    assert all(sentence.endswith(f"lacks: it {able}.") for sentence in said)
