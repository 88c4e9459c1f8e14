"""Fit a model that restores case and punctuation, and score it beside simple rules on the test reviews."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import CleanConfig
from reviewlm.core.config.sections.evaluation import EvaluationConfig
from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.config.sections.other_models import PunctuationConfig
from reviewlm.core.errors import InputError
from reviewlm.core.store import Artifact
from reviewlm.corpus.splitting.split import iter_split
from reviewlm.evaluation.scoring.punctuation import UsualTags, by_rules, score_marks
from reviewlm.evaluation.statistics.groups import connect_groups
from reviewlm.models.options import to_plain_values
from reviewlm.models.punctuator import Punctuator
from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.models.written_words import MARKS, TaggedWords, taken_off
from reviewlm.tasks.embed import newest_of
from reviewlm.tasks.execution.devices import held_device
from reviewlm.tasks.execution.progress import progress
from reviewlm.tasks.execution.stage import as_task_state, run_stage, stage_task
from reviewlm.tasks.fitting.fit import device_of, remove, threads_of
from reviewlm.training.context import FitContext, FitProgress
from reviewlm.training.labelling import networks
from reviewlm.training.vocabularies.learn import learn_vocabulary

STAGE = "punctuation"
MODEL = "model"
CHECKPOINTS = "checkpoints"
NETWORK = "network"
USUAL = "usual tag of each word"
RULES = "rules"
"""What is compared: the model, and two ways without one."""
PIECES = 8_000
"""Largest size of the vocabulary of pieces (byte-level BPE)."""
TEST_WORDS = 200_000
"""Words of the test reviews that are scored at most: they give the F1 of each mark to about one point."""
LEAST_CAPITALS = 0.001
"""Share of words with a capital below which the texts have lost their case."""


@stage_task(STAGE)
def fit_punctuator(config: RunConfig, clean: Artifact) -> Artifact:
    """Learn pieces of words, train the tagger and score it; a killed training continues from its last checkpoint."""
    chosen = config.punctuation
    options = {
        **to_plain_values(chosen.spec(config.seed)),
        "pieces": PIECES,
        "train_words": chosen.train_words,
        "test_words": TEST_WORDS,
        **config.evaluation.bootstrap,
    }

    def make(work: Path) -> dict[str, Any]:
        train = list(_texts(clean.folder, "train", chosen.train_words))
        validation = list(_texts(clean.folder, "validation", chosen.train_words // 10 + 1))
        test = list(_texts(clean.folder, "test", TEST_WORDS))
        texts = [text for text, _ in train]
        chosen_by = [text for text, _ in validation]
        scored_on = [text for text, _ in test]
        _require_case(texts)
        model, summary, tags = _fit_punctuator(
            config.seed,
            config.punctuation,
            config.execution,
            config.clean,
            texts,
            chosen_by,
            scored_on,
            work,
        )
        rows = _comparison_rows(config.evaluation, tags, texts, test)
        model.save(work / MODEL)
        if (work / CHECKPOINTS).exists():
            remove(work / CHECKPOINTS)

        count = {
            "train": len(train),
            "validation": len(validation),
            "test": len(test),
        }
        return {
            "summary": summary,
            "reviews": count,
            "pieces": len(model.vocabulary),
            "rows": rows,
        }

    built = run_stage(
        config.workspace,
        STAGE,
        options,
        {"clean": clean.digest},
        make,
        resumable=True,
    )
    return as_task_state(built)


def _texts(
    folder: Path,
    split: str,
    words: int,
) -> Iterator[tuple[TaggedWords, str | None]]:
    """Yield the texts of a split, of *words* words at most, each with its business, if that is known.

    The reviews of a split are in the order of the salted hash of their ids, so the first ones are a random sample.
    """
    for batch in iter_split(folder, split):
        for text, group in zip(batch["text"], batch["business_id"], strict=True):
            tagged = taken_off(text)
            if words <= 0:
                return
            if tagged.words:
                words -= len(tagged.words)
                yield tagged, group


def _require_case(texts: list[TaggedWords]) -> None:
    """Refuse texts that have been folded to lower case.

    Raises:
        InputError: They have hardly a capital, or no word.
    """
    words = sum(len(text.words) for text in texts)
    capitals = sum(tag >= len(MARKS) for text in texts for tag in text.tags)
    if capitals < LEAST_CAPITALS * words or not words:
        raise InputError(
            "The training reviews have no capitals to learn from",
            where=STAGE,
            value=f"{capitals} in {words} words",
            cause="they were folded to lower case before",
            remedy="use reviews as they were written",
        )


def _fit_punctuator(
    seed: int,
    punctuation: PunctuationConfig,
    execution: ExecutionConfig,
    clean: CleanConfig,
    train: list[TaggedWords],
    validation: list[TaggedWords],
    test: list[TaggedWords],
    work: Path,
) -> tuple[Punctuator, dict[str, float], list[list[int]]]:
    """Return the fitted model on the processor, the fit's summary, and the model's tags of the test texts."""
    spec = punctuation.spec(seed)
    form = NormalForm(**clean.model_dump())
    lines = [" ".join(text.words) for text in train]
    pieces = VocabularySpec(
        unit="bpe",
        size=PIECES,
        min_count=1,
    )
    vocabulary = learn_vocabulary(lines, pieces, form)
    with held_device(device_of(execution)) as device, progress(STAGE, 1, "words") as report:

        def heard(news: FitProgress) -> None:
            report(news.step, news.figures, total=news.total)

        context = FitContext(work / CHECKPOINTS, device, threads_of(execution), heard)
        model, summary = networks.fit_punctuator(
            spec,
            vocabulary,
            train,
            validation,
            context,
        )
        tags = model.tags([text.words for text in test])
        model.labeller.network.cpu()
        return model, summary, tags


def _comparison_rows(
    evaluation: EvaluationConfig,
    tags: list[list[int]],
    train: list[TaggedWords],
    test: list[tuple[TaggedWords, str | None]],
) -> list[dict[str, Any]]:
    """Return the rows of the table: the model and two simple ways on the test reviews; none without test reviews."""
    if not test:
        return []

    usual = UsualTags(train)
    words = [text.words for text, _ in test]
    ways = {
        NETWORK: tags,
        USUAL: [usual(text) for text in words],
        RULES: [by_rules(text) for text in words],
    }
    truth = [text.tags for text, _ in test]
    businesses = pl.Series([business for _, business in test], dtype=pl.String)
    groups_N = connect_groups(businesses).to_numpy()
    return score_marks(
        ways,
        truth,
        USUAL,
        groups=groups_N,
        **evaluation.bootstrap,
    )


def newest_punctuator(home: Path) -> Artifact:
    """Return the model that was fitted last; errors as for `reviewlm.tasks.embed.newest_of`."""
    remedy = "`reviewlm models punctuate fit` trains one on reviews"
    return newest_of(home, STAGE, "There is no model yet that restores punctuation", remedy)
