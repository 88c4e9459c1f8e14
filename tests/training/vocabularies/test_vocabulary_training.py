"""Learning entries: exact whatever the amount of text; the same bytes in any process, with any threads, in any order.

Oracle: the trainers of the `tokenizers` package, fed with the whole text.
"""

import json
import os
import random
import subprocess
from pathlib import Path

import pytest
from tokenizers import Regex, Tokenizer, pre_tokenizers, trainers
from tokenizers import models as models_of_package

from reviewlm.models.tokens.subword_codecs import SPLIT
from reviewlm.training.vocabularies import learn
from tests.marked_cases import long_but
from tests.models.small_vocabularies import TRAIN, UNITS, train
from tests.programs import command

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("threads", long_but(["1", "2", "8"], ["2"]))
@pytest.mark.slow
def test_training_gives_the_same_bytes_in_any_process_with_any_threads_in_any_order(
    threads, vocabularies
):
    mixed = random.Random(threads).sample(TRAIN, len(TRAIN))
    parallel = {
        "RAYON_NUM_THREADS": threads,
        "POLARS_MAX_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "true",
    }
    found = subprocess.run(
        command("learn_vocabularies", json.dumps(list(UNITS)), json.dumps(mixed)),
        env={
            **os.environ,
            **parallel,
            "PYTHONHASHSEED": threads,
        },
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout.split()
    assert dict(zip(found[::2], found[1::2], strict=True)) == {
        name: one.digest for name, one in vocabularies.items()
    }


def test_bpe_is_that_of_the_package_on_the_whole_text(vocabularies):
    tokenizer = Tokenizer(models_of_package.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=392,
        min_frequency=1,
        special_tokens=["<unk>"],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(TRAIN, trainer)
    ours = json.loads(vocabularies["bpe"].to_json())["unit"]["tokenizer"]["model"]
    theirs = json.loads(tokenizer.to_str())["model"]
    assert (ours["merges"], ours["vocab"]) == (theirs["merges"], theirs["vocab"])


def test_unigram_has_the_pieces_of_the_package_on_the_whole_text(vocabularies, monkeypatch):
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    tokenizer = Tokenizer(models_of_package.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    room = 400 - 9 - 243 + 1
    trainer = trainers.UnigramTrainer(
        vocab_size=room,
        special_tokens=["<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(TRAIN, trainer)
    ours = json.loads(vocabularies["unigram"].to_json())["unit"]["tokenizer"]["model"]["vocab"]
    theirs = json.loads(tokenizer.to_str())["model"]["vocab"]
    assert {piece for piece, _ in ours if not piece.startswith("<0x")} == {
        piece for piece, _ in theirs
    }


def test_a_large_text_is_thinned_for_unigram_by_piece_not_by_place(monkeypatch):
    monkeypatch.setattr(learn, "FED", 200)
    texts = [f"{text} {number}" for number, text in enumerate(TRAIN)]
    vocabulary = train("unigram", texts)
    assert 150 < vocabulary.facts["occurrences_fed"] < 250 < vocabulary.facts["occurrences"]
    assert train("unigram", texts[::-1]).digest == vocabulary.digest
