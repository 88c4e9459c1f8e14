"""fastText models: hashed n-grams of words, known and unknown, and files that cannot be read."""

import gzip
import struct

import numpy as np
import pytest

from models.base import ModelError
from models.vectors.formats.fasttext_model import ngram_hash, ngrams
from models.vectors.formats.files import read_vectors
from models.vectors.vocabulary_matrix import embedding_matrix

WORDS, BUCKET, DIM = {"</s>": 9, "food": 5, "café": 2}, 7, 3
TABLE = np.random.default_rng(1).normal(size=(len(WORDS) + BUCKET, DIM)).astype(np.float32)


def model(words=WORDS, model=2, pruned=-1, quantized=False, table=TABLE):
    """Return the bytes of a model with n-grams of 3 and 4 characters, laid out as fastText 0.9 writes it."""
    raw = struct.pack("<2i", 793712314, 12)
    raw += struct.pack("<12i", DIM, 5, 5, 1, 5, 1, 2, model, BUCKET, 3, 4, 100) + struct.pack("<d", 1e-4)
    raw += struct.pack("<3i2q", len(words), len(words), 0, 100, pruned)
    for word, count in words.items():
        raw += word.encode() + b"\0" + struct.pack("<qb", count, 0)
    return raw + struct.pack("<?2q", quantized, *table.shape) + table.tobytes()


@pytest.fixture
def opened(tmp_path):
    (tmp_path / "model.bin").write_bytes(model())
    return read_vectors(tmp_path / "model.bin")


@pytest.mark.parametrize(("text", "expected"), [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)])
def test_the_hash_has_the_published_values_of_fnv_1a(text, expected):
    assert ngram_hash(text) == expected


def test_a_byte_above_127_is_extended_with_its_sign():
    """h("é"): two steps of FNV-1a with 0xFFFFFFC3 and 0xFFFFFFA9."""
    expected = 2166136261
    for value in (0xFFFFFFC3, 0xFFFFFFA9):
        expected = ((expected ^ value) * 16777619) % 2**32
    assert ngram_hash("é") == expected


def test_ngrams_are_cut_from_the_word_between_angle_brackets():
    assert list(ngrams("ab", 1, 3)) == ["<a", "<ab", "a", "ab", "ab>", "b", "b>"]
    assert list(ngrams("né", 3, 6)) == ["<né", "<né>", "né>"]
    assert list(ngrams("food", 1, 0)) == []


def test_a_known_word_is_the_mean_of_its_row_and_its_ngrams(opened):
    rows = [1] + [3 + ngram_hash(each) % BUCKET for each in ("<fo", "<foo", "foo", "food", "ood", "ood>", "od>")]
    np.testing.assert_allclose(opened.vector("food"), TABLE[rows].mean(0), rtol=1e-6)
    np.testing.assert_array_equal(opened.vector("</s>"), TABLE[0])
    assert opened.counts == [9, 5, 2]


def test_an_unknown_word_is_the_mean_of_its_ngrams(opened):
    rows = [3 + ngram_hash(each) % BUCKET for each in ("<fo", "<fos", "fos", "fos>", "os>")]
    matrix, coverage = embedding_matrix(opened, ["food", "fos"])
    np.testing.assert_allclose(matrix[1], TABLE[rows].mean(0), rtol=1e-6)
    assert (coverage.found, coverage.built) == (1, 1)


@pytest.mark.parametrize(("raw", "said"), [
    pytest.param(model(model=3), "classifier or a pruned", id="classifier"),
    pytest.param(model(pruned=0), "classifier or a pruned", id="pruned"),
    pytest.param(model(quantized=True), "compressed by quantization", id="quantized"),
    pytest.param(model()[:-1], "ends inside the vectors", id="cut"),
    pytest.param(model(table=TABLE[1:]), "9 rows of 3 numbers do not fit 3 words", id="sizes"),
    pytest.param(model()[:94], "entry 1: the word has no end", id="cut-word"),
])  # fmt: skip
def test_a_model_that_cannot_be_read_is_an_error(raw, said, tmp_path):
    for content in (raw, gzip.compress(raw)):
        (tmp_path / "model.bin").write_bytes(content)
        with pytest.raises(ModelError, match=r"model\.bin") as error:
            read_vectors(tmp_path / "model.bin")
        assert error.match(said)


def test_a_packed_model_has_the_same_vectors_and_only_the_wanted_words(opened, tmp_path):
    (tmp_path / "model.bin.gz").write_bytes(gzip.compress(model()))
    packed = read_vectors(tmp_path / "model.bin.gz", {"food"})
    assert packed.words == ["food"]
    np.testing.assert_array_equal(packed.vector("food"), opened.vector("food"))
    np.testing.assert_array_equal(packed.from_parts("fos"), opened.from_parts("fos"))
