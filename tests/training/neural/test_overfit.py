"""A network of each kind learns one batch by heart; one whose gradient is cut off does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from models.specs import NPLMSpec, RecurrentSpec, VocabularySpec
from models.streams import TokenStream, write_stream
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from training.neural.overfit import GOAL, UPDATES, overfit_one_batch

TEXTS = [f"The soup of the day number {word} was served {when}." for word in ("one", "two", "six") for when in
         ("cold", "hot", "late", "with bread and butter")]  # fmt: skip


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenStream, int]:
    folder: Path = tmp_path_factory.mktemp("stream")
    vocabulary = Vocabulary.train(TEXTS, VocabularySpec(size=100, min_count=1), NormalForm(), folder)
    rows = pl.DataFrame({
        "review_id": [f"r{number}" for number in range(len(TEXTS))], "text": TEXTS, "stars": [5.0] * len(TEXTS),
        "bytes": [len(text) + 1 for text in TEXTS],
    })  # fmt: skip
    (folder / "tokens").mkdir()
    write_stream(folder / "tokens", vocabulary, [rows], whole=False)
    return TokenStream.open(folder / "tokens"), vocabulary.size


WITHOUT_COMPILER = """
import sys
from pathlib import Path
from training.neural.overfit import overfit_one_batch
from models.specs import RecurrentSpec
from models.streams import TokenStream
overfit_one_batch(RecurrentSpec(kind="lstm"), int(sys.argv[2]), TokenStream.open(Path(sys.argv[1])))
print(*[name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""


@pytest.mark.slow
def test_a_training_on_a_processor_imports_no_compiler(stream: tuple[TokenStream, int], tmp_path: Path) -> None:
    """The first step of torch's optimisers, and the first gradient that it is given, import it for over a second."""
    command = [sys.executable, "-c", WITHOUT_COMPILER, str(stream[0].folder), str(stream[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.split() == []


@pytest.mark.parametrize("spec", [
    RecurrentSpec(kind="rnn"), RecurrentSpec(kind="gru"), RecurrentSpec(kind="lstm", dropout=0.5), NPLMSpec(),
], ids=["rnn", "gru", "lstm", "nplm"])
def test_one_batch_is_learnt_by_heart(spec: RecurrentSpec | NPLMSpec, stream: tuple[TokenStream, int]) -> None:
    loss, updates = overfit_one_batch(spec, stream[1], stream[0])
    assert loss < GOAL
    assert 0 < updates < UPDATES
