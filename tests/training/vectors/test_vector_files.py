"""Vector files of word2vec, GloVe and fastText: what is written is read again, and odd lines are clear errors."""

import gzip
import struct
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reviewlm.models.base import ModelError
from reviewlm.training.vectors.embedding_rows import embedding_matrix
from reviewlm.training.vectors.files import (
    ARRAYS,
    Form,
    load_vectors,
    make_keyed_vectors,
    read_vectors,
    save_vectors,
    write_vectors,
)

FOOD = make_keyed_vectors(
    ["the", "food", "café"], np.array([[1, 2.5], [-0.1, 1e-30], [3, 4]], np.float32)
)
words = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Z", "C")), min_size=1), min_size=1, unique=True
)


def numbers(rows, columns):
    return arrays(np.float32, (rows, columns), elements=st.floats(-(2.0**99), 2.0**99, width=32))


@given(st.data())
@pytest.mark.parametrize("form", get_args(Form))
def test_what_is_written_is_read_again_to_the_last_bit(
    form,
    tmp_path_factory,
    data,
):
    names = data.draw(words)
    given_vectors = make_keyed_vectors(
        names, data.draw(numbers(len(names), data.draw(st.integers(2, 5))))
    )
    path = tmp_path_factory.mktemp("files") / "vectors"
    assert write_vectors(path, given_vectors, form) == len(names)
    found = read_vectors(path)
    assert found.index_to_key == names
    assert found.vectors.tobytes() == given_vectors.vectors.tobytes()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"the    1  2.5\nfood  -3    4\n", id="aligned by spaces"),
        pytest.param(b"   the 1 2.5\n  food -3 4\n", id="aligned to the right"),
        pytest.param(b"the\t1\t2.5\nfood\t-3\t4\n", id="tabs"),
        pytest.param(
            b"2\t2\nthe\t1 2.5\t\nfood\t-3 4 \t\r\n", id="a tab after the word and at the end"
        ),
        pytest.param(b"\xef\xbb\xbf2 2\nthe 1 2.5\nfood -3 4\n", id="mark of UTF-8 and a header"),
        pytest.param(b"\xef\xbb\xbfthe 1 2.5\nfood -3 4\n", id="mark of UTF-8"),
    ],
)
def test_columns_are_read_whatever_stands_around_them(content, tmp_path):
    for name, packed in (("a", content), ("a.gz", gzip.compress(content))):
        (tmp_path / name).write_bytes(packed)
        found = read_vectors(tmp_path / name)
        assert (found.index_to_key, found.vectors.tolist()) == (
            ["the", "food"],
            [[1, 2.5], [-3, 4]],
        )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(b"", "line 1: there are no vectors", id="empty"),
        pytest.param(b"the\n", "line 1: a word and some numbers", id="no-numbers"),
        pytest.param(
            b"the 1 2\nfood 1\n",
            "line 2: a word and 2 numbers are needed; there are 1",
            id="short-line",
        ),
        pytest.param(b"the 1 2\nfood 1 x\n", "line 2: a field is not a number", id="no-number"),
        pytest.param(b"the 1 2\nfood 1 nan\n", "line 2: 'nan' is not a finite", id="nan"),
        pytest.param(b"the 1 2\nfood 1 1e99\n", "line 2: '1e99' is not a finite", id="too-large"),
        pytest.param(b"the 1 2\n\xff\xfe 1 2\n", "line 2: the line is not UTF-8", id="encoding"),
        pytest.param("2 2\nthe 1 2\nfood 3 4\n".encode("utf-16"), "text in UTF-16", id="utf-16"),
        pytest.param(
            b"3 2\nthe 1 2\n",
            "line 3: the file ends after 1 words; its first line says 3",
            id="too-few",
        ),
        pytest.param(
            b"1 2\nthe 1 2\nfood 1 2\n", "line 3: the first line says 1 words", id="too-many"
        ),
        pytest.param(b"1 2\nthe \x00\x00\x80\x3f\x00", "binary file of word2vec", id="cut-binary"),
        pytest.param(
            b"2 1\nthe \x00\x00\x80\x3f\n", "binary file of word2vec", id="binary-too-few"
        ),
        pytest.param(b"1 1\nthe \x00\x00\x80\x7f\n", "the vector of 'the'", id="binary-infinite"),
        pytest.param(
            b"1 1\nt\xffe \x00\x00\x80\x3f\n", "binary file of word2vec", id="binary-encoding"
        ),
        pytest.param(b"\xba\x16\x4f\x2f....", "fastText model", id="fasttext-version"),
        pytest.param(b"\xba\x16\x4f\x2f\x0c\0\0\0", "fastText model", id="cut-fasttext"),
    ],
)
def test_an_odd_file_is_an_error_that_names_its_place(
    content,
    said,
    tmp_path,
):
    (tmp_path / "odd.vec").write_bytes(content)
    with pytest.raises(ModelError, match=r"odd\.vec") as error:
        read_vectors(tmp_path / "odd.vec")
    assert error.match(said)
    assert error.value.kind == "input"


ROWS = b"".join(b"w%d %d 0.5\n" % (row, row) for row in range(200))


@pytest.mark.parametrize(
    "odd",
    [
        b"  1.5 2.5\n",
        "\u00a0 1.5 2.5\n".encode(),
        b"short 1.5\n",
        b"marked 1.5 x\n",
        b"large 1e99 2.5\n",
    ],
    ids=["blank", "hard-blank", "short", "no-number", "too-large"],
)
@pytest.mark.parametrize("first", [b"", b"201 2\n"], ids=["glove", "word2vec"])
def test_one_odd_row_among_many_is_set_aside_with_a_warning(
    first,
    odd,
    tmp_path,
    caplog,
):
    (tmp_path / "odd.vec").write_bytes(first + ROWS + odd)
    assert read_vectors(tmp_path / "odd.vec").index_to_key == [f"w{row}" for row in range(200)]
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert f"line {201 + bool(first)}" in record.getMessage()


def test_one_row_in_another_encoding_is_set_aside(tmp_path):
    (tmp_path / "odd.vec").write_bytes(ROWS + b"\xff\xfe 1.5 2.5\n")
    assert len(read_vectors(tmp_path / "odd.vec")) == 200


def test_a_row_without_a_word_may_be_the_first_of_a_short_file(tmp_path):
    (tmp_path / "odd.vec").write_bytes(b" 1 2.5\nthe 3 4\nfood 5 6\n")
    found = read_vectors(tmp_path / "odd.vec")
    assert (found.index_to_key, found.vectors.tolist()) == (["the", "food"], [[3, 4], [5, 6]])


def test_many_damaged_rows_refuse_the_file_with_the_first_of_them(tmp_path):
    (tmp_path / "odd.vec").write_bytes(ROWS + b"short 1.5\n" * 3)
    with pytest.raises(ModelError, match="line 201"):
        read_vectors(tmp_path / "odd.vec")


def test_a_damaged_first_row_refuses_the_file_for_it_says_how_many_numbers_there_are(tmp_path):
    (tmp_path / "odd.vec").write_bytes(b"<<<<<<< HEAD\n" + ROWS)
    with pytest.raises(ModelError, match="line 1"):
        read_vectors(tmp_path / "odd.vec")


def test_a_file_that_ends_within_a_row_is_cut(tmp_path):
    (tmp_path / "odd.vec").write_bytes(ROWS + b"last 1.")
    with pytest.raises(ModelError, match="line 201"):
        read_vectors(tmp_path / "odd.vec")


def test_absent_vectors_are_refused(tmp_path):
    with pytest.raises(ModelError) as error:
        read_vectors(tmp_path)

    assert error.value.kind == "input"


def test_damaged_vectors_are_refused(tmp_path):
    save_vectors(tmp_path, FOOD)
    raw = bytearray((tmp_path / ARRAYS).read_bytes())
    raw[-1] ^= 1
    (tmp_path / ARRAYS).write_bytes(raw)

    with pytest.raises(ModelError) as error:
        load_vectors(tmp_path)

    assert error.value.kind == "bundle"


WORDS, BUCKET, DIM = (
    {
        "</s>": 9,
        "food": 5,
        "café": 2,
    },
    7,
    3,
)
TABLE = np.random.default_rng(1).normal(size=(len(WORDS) + BUCKET, DIM)).astype(np.float32)


def fasttext(model=2, table=TABLE):
    """Return the bytes of a model with n-grams of 3 and 4 characters, laid out as fastText 0.9 writes it."""
    raw = struct.pack("<2i", 793712314, 12)
    raw += struct.pack(
        "<12i",
        DIM,
        5,
        5,
        1,
        5,
        1,
        2,
        model,
        BUCKET,
        3,
        4,
        100,
    ) + struct.pack("<d", 1e-4)
    raw += struct.pack(
        "<3i2q",
        len(WORDS),
        len(WORDS),
        0,
        100,
        -1,
    )
    for word, count in WORDS.items():
        raw += word.encode() + b"\0" + struct.pack("<qb", count, 0)
    raw += struct.pack("<?2q", False, *table.shape) + table.tobytes()
    return raw + struct.pack("<?2q", False, len(WORDS), DIM) + TABLE[: len(WORDS)].tobytes()


def fnv_1a(ngram):
    """Return FNV-1a, 32 bits, of bytes that are extended with their sign as in fastText's own program."""
    value = 2166136261
    for byte in ngram.encode():
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
    return value


def test_words_of_a_fasttext_model_are_means_of_rows_of_their_ngrams_also_unknown_ones(tmp_path):
    (tmp_path / "model.bin").write_bytes(fasttext())
    parts = {
        "food": ("<fo", "<foo", "foo", "food", "ood", "ood>", "od>"),
        "fos": ("<fo", "<fos", "fos", "fos>", "os>"),
    }
    rows = {word: [3 + fnv_1a(each) % BUCKET for each in ngrams] for word, ngrams in parts.items()}
    entries, counts, free = ["food", " fos", ""], np.array([5, 3, 2]), np.ones(3, bool)
    matrix, coverage = embedding_matrix(read_vectors(tmp_path / "model.bin"), entries, counts, free)
    np.testing.assert_allclose(matrix[0], TABLE[[1, *rows["food"]]].mean(0), rtol=1e-5)
    np.testing.assert_allclose(matrix[1], TABLE[rows["fos"]].mean(0), rtol=1e-5)
    assert (coverage.found, coverage.built, coverage.share_of_text, coverage.missing) == (
        1,
        1,
        0.8,
        ("",),
    )
