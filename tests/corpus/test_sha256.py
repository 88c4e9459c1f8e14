"""SHA-256 of many texts at once is that of Python's hashlib for each, whoever computes it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numba  # noqa: F401 - compiled loops are only used where it is imported
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corpus import sha256
from corpus.sha256 import sha256_of
from tests.examples import examples

HASHED = """
import hashlib, sys
import polars as pl
{before}
from corpus.sha256 import sha256_of
texts = [str(n) * (n % 70) for n in range(2_000)]
found = sha256_of(pl.Series(texts), b"salt")
assert found.tobytes() == b"".join(hashlib.sha256(b"salt" + text.encode()).digest() for text in texts)
print("corpus.sha256_kernel" in sys.modules)
"""


def expected(texts, prefix):
    return [hashlib.sha256(prefix + text.encode()).hexdigest() for text in texts]


@pytest.fixture(params=["compiled", "hashlib"])
def way(request, monkeypatch):
    """Whether compiled loops hash, also few texts, or hashlib."""
    monkeypatch.setattr(sha256, "COMPILED_TEXTS", 0)
    if request.param == "hashlib":
        monkeypatch.setattr(sha256, "_compiled", lambda: None)
    elif sha256._compiled() is None:
        pytest.skip("this Python's OpenSSL has no functions to call")
    return request.param


def test_the_digest_of_abc_is_that_of_the_standard(way):
    """FIPS 180-2, appendix B.1: "abc"."""
    first = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(pl.Series(["abc"])).tobytes().hex() == first
    assert sha256_of(pl.Series(["bc"]), b"a").tobytes().hex() == first


@examples(50)
@given(texts=st.lists(st.text(max_size=200), max_size=20), prefix=st.binary(max_size=70), cut=st.integers(0, 20))
def test_digests_are_those_of_hashlib_for_any_texts_and_cuts(texts, prefix, cut):
    for compiled in (0, 1 << 60):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sha256, "COMPILED_TEXTS", compiled)
            series = pl.Series(texts, dtype=pl.String)
            in_chunks = pl.concat([series.slice(cut), series.slice(0, cut)], rechunk=False)
            for some in (series, in_chunks, series.slice(1), series.slice(cut, 3)):
                found = sha256_of(some, prefix)
                assert (found.shape, found.dtype) == ((len(some), 32), np.uint8)
                assert [row.tobytes().hex() for row in found] == expected(some.to_list(), prefix)


@pytest.mark.parametrize("size", [55, 56, 63, 64, 65, 119, 120, 10**6])
def test_texts_of_the_lengths_at_which_blocks_end(size, way):
    texts = ["é" + "x" * (size - 2), "", "y"]
    assert [row.tobytes().hex() for row in sha256_of(pl.Series(texts))] == expected(texts, b"")


@pytest.mark.slow
@pytest.mark.parametrize(("before", "jit", "compiled"), [
    ("import numba", "0", "True"), ("import numba", "1", "False"), ("", "0", "False"),
    ("import numba, _hashlib; del _hashlib.__file__", "0", "False"),
])  # fmt: skip
def test_hashlib_is_used_without_numba_and_where_openssl_is_built_in(before, jit, compiled, tmp_path):
    environment = {**os.environ, "NUMBA_DISABLE_JIT": jit, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", HASHED.format(before=before)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{compiled}\n"), done.stderr
