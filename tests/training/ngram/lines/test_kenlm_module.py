"""KenLM's own Python module reads our ARPA files and scores every word as we do.

It runs in another interpreter, the one that REVIEWLM_KENLM_PYTHON names: the module is no dependency of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reviewlm.models.tokens.special import CONTEXT_IDS
from reviewlm.training.ngram.arpa_writer import LN10, write_arpa
from reviewlm.training.ngram.counting.counts import count_ngrams
from reviewlm.training.ngram.lines.text_corpus import UNK, LineCorpus
from reviewlm.training.ngram.lines.text_files import LineSpec, fit_lines
from tests.estimated_ngrams import estimate_ngrams
from tests.programs import path_of

Scored = list[list[tuple[float, int, bool]]]


@pytest.fixture(scope="module")
def by_kenlm() -> Callable[[Path, list[str]], Scored]:
    """Return, per line and word (`</s>` included), log10 p, order of the n-gram found, and whether it is unknown."""
    python = os.environ.get("REVIEWLM_KENLM_PYTHON")
    if not python:
        pytest.skip("REVIEWLM_KENLM_PYTHON names no interpreter that has the module kenlm")
    if subprocess.run([python, "-c", "import kenlm"], capture_output=True, check=False).returncode:
        pytest.skip(f"REVIEWLM_KENLM_PYTHON is {python}, which has no module kenlm")

    def scores(model: Path, lines: list[str]) -> Scored:
        command = [python, path_of("score_by_kenlm"), str(model)]
        done = subprocess.run(
            command,
            input=json.dumps(lines),
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    return scores


@pytest.mark.parametrize(
    ("name", "prune"), [("train", ()), ("train", (1, 1, 2)), ("quirk", (0, 1))]
)
def test_kenlm_scores_every_word_of_our_file_as_we_do(
    name,
    prune,
    golden_text,
    tmp_path,
    by_kenlm,
):
    model = fit_lines(golden_text(name), LineSpec(order=3, prune=prune))[0]
    model.to_arpa(tmp_path / "model.arpa")
    held_out, named = golden_text("held_out", model.words), golden_text("held_out")
    spans = list(zip(held_out.offsets[:-1], held_out.offsets[1:], strict=True))
    lines = [
        " ".join(named.words[token] for token in named.ids[begin + 1 : end - 1])
        for begin, end in spans
    ]
    theirs = by_kenlm(tmp_path / "model.arpa", lines)
    assert any(unknown for line in theirs for _, _, unknown in line)
    for (begin, end), scored in zip(spans, theirs, strict=True):
        part = LineCorpus(held_out.ids[begin:end], np.array([0, end - begin]), model.words)
        ours = -model.token_nats(part)[1:] / LN10
        assert [score for score, _, _ in scored] == pytest.approx(ours.tolist(), abs=2e-6)
        assert [unknown for _, _, unknown in scored] == (part.ids[1:] == UNK).tolist()


def test_a_review_written_with_its_star_token_costs_what_it_costs_here(
    stream_of,
    reviews_of,
    tmp_path,
    by_kenlm,
):
    documents = reviews_of(60, 30, 5)
    words = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<stars_{k}>" for k in range(6)),
        *(f"w{n}" for n in range(9, 30)),
    ]
    model = estimate_ngrams(count_ngrams(stream_of(documents), 3, 30, CONTEXT_IDS))
    write_arpa(tmp_path / "reviews.arpa", model.tables, words)
    lines = [" ".join(words[token] for token in document[1:-1]) for document in documents[:20]]
    for document, scored in zip(
        documents, by_kenlm(tmp_path / "reviews.arpa", lines), strict=False
    ):
        nats, _ = model.score(np.array([document]), model.start(1))
        assert sum(score for score, _, _ in scored) == pytest.approx(-nats.sum() / LN10, rel=1e-5)
