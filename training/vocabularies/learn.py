"""Learn a vocabulary from training texts, the same bytes in every run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.threads import FanOut
from models.tokens.vocabulary import Vocabulary
from training.vocabularies.subwords import train_bpe, train_characters, train_unigram
from training.vocabularies.words import train_words


def learn_vocabulary(
    texts: Iterable[str], spec: VocabularySpec, normal_form: NormalForm, work: Path | None = None,
    fan_out: FanOut = map,
) -> Vocabulary:
    """Learn the entries from cleaned training texts (read once), in bounded memory.

    The same texts in any order give the same bytes. The attribute `facts` tells how much text was used.

    Args:
        spec: Unit, size and minimum count.
        work: Folder for counts that do not fit in memory; None: the system's folder for temporary files.
        fan_out: Who counts the pieces of batches of texts.

    Raises:
        ModelError: kind "input": no word of the texts is frequent enough, or `spec.size` is too small for the unit.
    """
    if spec.unit == "word":
        learned: Any = train_words(texts, spec.size, spec.min_count, spec.lowercase, work, fan_out)
    elif spec.unit == "bpe":
        learned = train_bpe(texts, spec.size, spec.min_count, work, fan_out)
    elif spec.unit == "unigram":
        learned = train_unigram(texts, spec.size, spec.min_count, work, fan_out)
    else:
        learned = train_characters(texts, spec.size, spec.min_count)
    unit, facts = learned
    vocabulary = Vocabulary(spec, normal_form, unit)
    vocabulary.facts.update(facts)
    return vocabulary
