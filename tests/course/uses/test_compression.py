"""A language model as a compressor: the same bytes back, in about −log2 P bits, and no file of another model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from math import log, log2
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.course.uses.compression import NotReadable, compress, decompress
from reviewlm.course.uses.range_coder import (
    Adaptive,
    Distribution,
    RangeDecoder,
    RangeEncoder,
    Uniform,
)
from reviewlm.models.bundles.bundle import Bundle
from tests.serving.engine.small_models import TEXTS, bundle_of

HOSTILE = [
    b"",
    b"\n",
    b"\n\n\n",
    b"no break at the end",
    b"\xff\xfe\x00 not UTF-8 \x80\n",
    b"\r\n\t \x0b\x0c\n",
    b"a" * 1_500,
    "Ünïcödé, “curly” ‘quotes’ and 'straight' ones, İstanbul, ǅ, ẞ, ﬁ\n".encode(),
    "𝒻𝒶𝓃𝒸𝓎 😀\u200d😀 \u0301\n".encode(),
    b"THE SOUP was  VERY   good !!  ( really )\n",
    b'{"text": "The soup\\u0000", "stars": 5}\n' * 3,
    b"tHe sOuP wAs gOoD.\nMr. Mc'Donald's co. U.S. a.m. $12.95 3rd w/o ice :-) <3\n",
    bytes(range(256)) * 3,
]


def named(
    kind: str,
    unit: str = "word",
    digest: str = "ab" * 32,
) -> Bundle:
    return replace(bundle_of(kind, unit), digest=digest)


def packed(bundle: Bundle, content: bytes) -> bytes:
    target = BytesIO()
    compress(bundle, BytesIO(content), target)
    return target.getvalue()


def unpacked(bundle: Bundle, content: bytes) -> bytes:
    target = BytesIO()
    decompress(bundle, BytesIO(content), target)
    return target.getvalue()


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("unit", ["word", "bpe", "char"])
def test_any_bytes_come_back(content: bytes, unit: str) -> None:
    bundle = named("ngram", unit)
    assert unpacked(bundle, packed(bundle, content)) == content


@pytest.mark.parametrize("kind", ["lstm", "mixture", "neural_cache"])
def test_every_kind_of_model_gives_the_bytes_back(kind: str) -> None:
    content = b"".join(HOSTILE) + "\n".join(TEXTS).encode()
    assert unpacked(named(kind), packed(named(kind), content)) == content


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_any_content_comes_back(content: bytes) -> None:
    bundle = named("ngram")
    assert unpacked(bundle, packed(bundle, content)) == content


@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(0, 300))
def test_a_message_takes_little_more_than_its_information(
    seed: int,
    symbols: int,
    length: int,
) -> None:
    draws, encoder, counts, bits = Random(seed), RangeEncoder(), Adaptive([1] * symbols), 0.0
    message = [draws.randrange(symbols) for _ in range(length)]
    weights = [draws.random() ** 8 + 1e-9 for _ in range(symbols)]
    fixed = Distribution(np.array(weights) / sum(weights))
    for symbol in message:
        for table in (fixed, counts, Uniform(symbols)):
            bits -= log2(table.bounds(symbol)[1] / table.total)
            encoder.code(table, symbol)
        counts.add(symbol)
    data, counts = encoder.finish(), Adaptive([1] * symbols)
    decoder = RangeDecoder(data)
    for symbol in message:
        assert {decoder.code(table) for table in (fixed, counts, Uniform(symbols))} == {symbol}
        counts.add(symbol)
    assert 8 * len(data) <= 1.0001 * bits + 16


@pytest.mark.parametrize("unit", ["word", "bpe"])
def test_a_text_takes_what_its_open_score_says(unit: str) -> None:
    """Scores price case and spaces with counts of the training text, the file with those of what it has read."""
    bundle = named("lstm", unit)
    texts = [text for text in TEXTS if "\n" not in text] * 20
    nats = sum(score.nats + score.spelling_nats for score in bundle.score_texts(texts))
    size = len(packed(bundle, "".join(f"{text}\n" for text in texts).encode()))
    assert size <= 1.01 * nats / log(2) / 8 + 64


@pytest.fixture(scope="module")
def packed_texts() -> bytes:
    return packed(named("ngram"), "\n".join(TEXTS).encode())


def test_a_file_of_another_model_is_refused(packed_texts: bytes) -> None:
    with pytest.raises(NotReadable):
        unpacked(named("ngram", digest="cd" * 32), packed_texts)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file[:-1],
        lambda file: file[: len(file) // 2],
        lambda file: file + b"\0",
        lambda file: file[:3],
        lambda file: b"",
        lambda file: "\n".join(TEXTS).encode(),
        lambda file: file[:4] + b"\x00" * 30,
    ],
    ids=["cut by a byte", "half", "longer", "a head", "empty", "no packed file", "zeros"],
)
def test_a_damaged_file_is_refused(damage: Callable[[bytes], bytes], packed_texts: bytes) -> None:
    with pytest.raises(NotReadable):
        unpacked(named("ngram"), damage(packed_texts))


def test_a_file_with_a_changed_bit_is_refused(packed_texts: bytes) -> None:
    bundle = named("ngram")
    for place in range(len(packed_texts)):
        changed = bytearray(packed_texts)
        changed[place] ^= 16
        with pytest.raises(NotReadable):
            unpacked(bundle, bytes(changed))
