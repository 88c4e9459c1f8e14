"""Whatever stands in the files of a saved model: it opens, or ModelError of kind "bundle" says why not."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import suppress
from itertools import islice

import numpy as np
import pytest

from benchmarks.fuzz.saved_models import save_models
from reviewlm.models.base import ModelError, translate_read_errors
from reviewlm.models.bundles.bundle import Bundle, load_bundle
from reviewlm.models.neural.lm import NeuralLM
from reviewlm.models.tokens.vocabulary import Vocabulary
from reviewlm.training.ngram.lines.line_lm import LineLM
from tests.marked_cases import long_but

WRONG = [
    None,
    True,
    -1,
    0.5,
    10**30,
    1e308,
    "x",
    "",
    [],
    [None],
    {},
    {"kind": "lstm"},
    "../../etc/passwd",
    "\ud800",
]
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """A small saved model of each kind."""
    folder = tmp_path_factory.mktemp("bundles")
    save_models(folder)
    return folder


@pytest.fixture(params=long_but(["ngram", "lstm", "cache"], {"lstm"}))
def bundle(
    bundles,
    tmp_path,
    request,
):
    shutil.copytree(bundles / request.param, tmp_path / "bundle")
    return tmp_path / "bundle"


def places(value, path=()):
    """Every place in nested JSON, the outermost first."""
    yield path
    for key, inner in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        yield from places(inner, (*path, key))


def put(
    value,
    path,
    new,
):
    """A copy of nested JSON with another value at a place."""
    if not path:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


def opened(folder):
    """Open a bundle; only our own error may come."""
    try:
        return load_bundle(folder)
    except ModelError as error:
        if error.kind != "bundle":
            raise
        return None


def rewrite(
    folder,
    name,
    content,
):
    """Give a file of a bundle other content, and the description the SHA-256 that belongs to it."""
    (folder / name).write_bytes(content)
    spec = json.loads((folder / "spec.json").read_text())
    spec["files"][name] = hashlib.sha256(content).hexdigest()
    if name == "vocabulary.json":
        with suppress(ModelError):
            spec["vocabulary_digest"] = Vocabulary.from_json(content.decode()).digest
    (folder / "spec.json").write_text(json.dumps(spec))


@pytest.mark.slow
def test_no_value_in_the_description_ends_in_another_error(bundle):
    whole = json.loads((bundle / "spec.json").read_text())
    refused = 0
    for path in places(whole):
        for wrong in WRONG:
            (bundle / "spec.json").write_text(json.dumps(put(whole, path, wrong)))
            refused += opened(bundle) is None
    assert refused > 300


def test_no_value_in_the_vocabulary_ends_in_another_error(bundle):
    whole = json.loads((bundle / "vocabulary.json").read_text())
    few = [path for path in places(whole) if len(path) < 3 or path[-1] in (0, "the")]
    for path in islice(few, 80):
        for wrong in WRONG[:-1]:
            rewrite(bundle, "vocabulary.json", json.dumps(put(whole, path, wrong)).encode())
            found = opened(bundle)  # raises what is no ModelError
            assert found is None or isinstance(found, Bundle), path


def test_no_byte_of_an_array_ends_in_another_error(bundle):
    rng = np.random.default_rng(1)
    arrays = [path for path in sorted(bundle.rglob("*")) if path.suffix in (".npy", ".safetensors")]
    assert arrays
    for path in arrays:
        content = path.read_bytes()
        for place in [*range(0, 200, 9), *rng.integers(0, len(content), 20)]:
            changed = bytearray(content)
            changed[min(place, len(content) - 1)] ^= int(rng.integers(1, 256))
            rewrite(bundle, path.relative_to(bundle).as_posix(), bytes(changed))
            opened(bundle)
        for cut in (0, 1, 10, len(content) // 2, len(content) - 1):
            rewrite(bundle, path.relative_to(bundle).as_posix(), content[:cut])
            assert opened(bundle) is None
        rewrite(bundle, path.relative_to(bundle).as_posix(), content)


def test_a_network_far_larger_than_its_file_is_refused_before_it_takes_memory(
    bundles,
    tmp_path,
    monkeypatch,
):
    shutil.copytree(bundles / "lstm", tmp_path / "bundle")
    spec = json.loads((tmp_path / "bundle" / "spec.json").read_text())
    spec["spec"]["hidden"] = 60_000
    (tmp_path / "bundle" / "spec.json").write_text(json.dumps(spec))
    monkeypatch.setattr(
        NeuralLM, "build", lambda *_: pytest.fail("a network of that size was built")
    )
    with pytest.raises(ModelError, match="bytes; a model of its options has over"):
        load_bundle(tmp_path / "bundle")


@pytest.mark.parametrize(
    "name", ["ngram.json", "lines.json", "words.txt", "logp_1.npy", "first_2.npy", "words_2.npy"]
)
def test_no_damage_to_a_model_of_lines_ends_in_another_error(
    bundles,
    tmp_path,
    name,
):
    shutil.copytree(bundles / "lines", tmp_path / "model")
    path = tmp_path / "model" / name
    content = path.read_bytes()
    rng = np.random.default_rng(2)
    changes = [content[:cut] for cut in (0, 1, len(content) // 2, len(content) - 1)] + [
        DEEP.encode(),
        b"[]",
        b"null",
    ]
    for place in rng.integers(0, len(content), 60):
        changes.append(content[:place] + bytes([int(rng.integers(0, 256))]) + content[place + 1 :])
    refused = answered = 0
    for changed in changes:
        path.write_bytes(changed)
        try:
            model = LineLM.open(tmp_path / "model")
        except ModelError as error:
            refused += error.kind == "bundle"
        else:
            answered += 1
            assert model.order == 3
    assert refused + answered == len(changes)


class PanicException(BaseException):  # what Rust's libraries call theirs
    pass


def test_a_panic_while_reading_is_an_error_of_the_file():
    with (
        pytest.raises(ModelError, match="the file cannot be read: PanicException"),
        translate_read_errors("the file"),
    ):
        raise PanicException("index out of bounds")


def test_an_interrupt_while_reading_stays_an_interrupt():
    with pytest.raises(KeyboardInterrupt), translate_read_errors("the file"):
        raise KeyboardInterrupt


def test_memory_that_is_short_while_reading_is_an_error_of_that_kind():
    with pytest.raises(ModelError) as caught, translate_read_errors("the file"):
        raise MemoryError("9 GB")
    assert caught.value.kind == "memory"
