"""Merges learned from counted words. Oracle: the trainer of the `tokenizers` package, which reads each word often."""

import json
from unittest.mock import patch

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import models.tokens.bpe as ours
from models.tokens.subword_codecs import BYTE_OF
from tests.examples import examples

NAMES = ["<unk>", *sorted(BYTE_OF)]
ALPHABET = np.zeros(256, np.int32)
ALPHABET[[BYTE_OF[name] for name in NAMES[1:]]] = np.arange(1, 257)


def learned(words, entries, least):
    counts = np.array(list(words.values()), np.int64)
    names = list(NAMES)
    for left, right in ours.learn_merges([word.encode() for word in words], counts, ALPHABET, 257, entries, least):
        names.append(names[left] + names[right])
        yield [names[left], names[right]]


def learned_by_the_package(words, entries, least):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=257 + entries, min_frequency=least, special_tokens=["<unk>"], show_progress=False,
        initial_alphabet=sorted(BYTE_OF),
    )
    tokenizer.train_from_iterator((word for word, count in words.items() for _ in range(count)), trainer)
    return json.loads(tokenizer.to_str())["model"]["merges"]


@examples(200)
@given(
    st.dictionaries(st.text("abcé", min_size=1, max_size=12), st.integers(1, 5), min_size=1, max_size=12),
    st.integers(1, 40), st.integers(1, 3), st.sampled_from([1, 2, 5, 1000]), st.sampled_from([1, 7, 1000]),
)
@example({"aaaaaaaa": 3, "aaaaaaa": 2, "aaab": 1}, 20, 1, 1, 3)
@example({"abababab": 2, "babab": 3}, 20, 1, 2, 1)
def test_the_merges_are_those_of_the_package_however_few_pairs_are_followed(words, entries, least, tracked, part):
    with patch.object(ours, "TRACKED", tracked), patch.object(ours, "SLICE", part):
        assert list(learned(words, entries, least)) == learned_by_the_package(words, entries, least)
