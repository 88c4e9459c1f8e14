"""Score restored case and punctuation: precision, recall and F1 of each mark and of capitals, with intervals.

`by_rules` and `UsualTags`, the most frequent tag of a word, need no network: others are compared with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from reviewlm.evaluation.statistics.bootstrap import Bootstrap
from reviewlm.models.written_words import CASES, MARKS, TaggedWords

NAMES = {
    "comma": ",",
    "full stop": ".",
    "question mark": "?",
    "exclamation mark": "!",
}
MARKS_TOGETHER = "all four marks"
CAPITALS = "capitals"
CLASSES = (*NAMES, MARKS_TOGETHER, CAPITALS)
"""What is scored. All four marks: a mark at the right place that is another one counts as wrong, twice."""
Tags = Sequence[Sequence[int]]
TITLE = CASES.index("Title") * len(MARKS)
STOP = MARKS.index(".")


def score_marks(
    ways: Mapping[str, Tags],
    right: Tags,
    baseline: str,
    *,
    confidence: float,
    resamples: int,
    seed: int,
    groups: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Return a row for each way and class: precision, recall, F1 with its ends, and the gain over a baseline.

    Args:
        ways: Tags of D texts by the name of who restored them.
        right: Tags as written.
        baseline: The way that the others are compared with.
        confidence, resamples, seed, groups: See `Bootstrap`. Whole texts are drawn.

    Returns:
        Shares; None where nothing was written or found. `gain`, `gain_lo`, `gain_hi` of F1 are None for the baseline
        itself.
    """
    columns: dict[Any, np.ndarray] = {}
    for name, tags in ways.items():
        for class_name in CLASSES:
            counts = []
            for answered, true in zip(tags, right, strict=True):
                counts.append(_counts(class_name, np.array(answered, int), np.array(true, int)))

            counts_DK = np.array(counts)
            for k, count in enumerate(("both", "said", "true")):
                columns[name, class_name, count] = counts_DK[:, k]

    boot = Bootstrap(
        columns.items(),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
        groups=groups,
    )
    return [_row(boot, name, class_name, baseline) for name in ways for class_name in CLASSES]


def _counts(
    class_name: str,
    tags: np.ndarray,
    true: np.ndarray,
) -> tuple[int, int, int]:
    """Return how often a class is found rightly, found, and written."""
    if class_name == CAPITALS:
        answers = tags >= len(MARKS)
        truths = true >= len(MARKS)
    else:
        answers = tags % len(MARKS)
        truths = true % len(MARKS)

    if class_name in NAMES:
        mark = MARKS.index(NAMES[class_name])
        answers = answers == mark
        truths = truths == mark

    right = (answers == truths) & (truths > 0)
    return int(right.sum()), int((answers > 0).sum()), int((truths > 0).sum())


def _f1(name: str, class_name: str) -> Callable[[Mapping[Any, Any]], Any]:
    """Return the formula of the F1 of a model for a class, from sums over the reviews."""

    def f1(sums: Mapping[Any, Any]) -> Any:
        both = sums[name, class_name, "both"]
        answered = sums[name, class_name, "said"]
        true = sums[name, class_name, "true"]
        return 2 * both / (answered + true)

    return f1


def _row(
    boot: Bootstrap,
    name: str,
    class_name: str,
    baseline: str,
) -> dict[str, Any]:
    """Return the figures of a model for a class, with its gain over the baseline."""
    both = boot.totals[name, class_name, "both"]
    answered = boot.totals[name, class_name, "said"]
    true = boot.totals[name, class_name, "true"]
    row: dict[str, Any] = {
        "model": name,
        "class": class_name,
        "written": int(true),
    }
    row["precision"] = both / answered if answered else None
    row["recall"] = both / true if true else None
    f1 = _f1(name, class_name)
    row |= boot.interval(f1).to_fields("f1")
    if name == baseline:
        return {
            **row,
            "gain": None,
            "gain_lo": None,
            "gain_hi": None,
        }

    baseline_f1 = _f1(baseline, class_name)
    gain = boot.interval(lambda sums: f1(sums) - baseline_f1(sums))
    return row | gain.to_fields("gain")


def by_rules(words: Sequence[str]) -> list[int]:
    """Return tags: the first word and "I" have a capital, the last word a full stop, and nothing else is written."""
    tags = [
        TITLE if place == 0 or word == "i" or word.startswith("i'") else 0
        for place, word in enumerate(words)
    ]
    return _end_tags(tags)


class UsualTags:
    """The most frequent tag of each word in training texts; of equally frequent ones, the first in the order of `TAGS`.

    Args:
        texts: Training texts.
    """

    def __init__(self, texts: Iterable[TaggedWords]) -> None:
        counts = Counter(pair for text in texts for pair in zip(text.words, text.tags, strict=True))
        most: dict[str, tuple[int, int]] = {}
        for (word, tag), count in counts.items():
            most[word] = min(most.get(word, (0, 0)), (-count, tag))
        self._tags = {word: tag for word, (_, tag) in most.items()}

    def __call__(self, words: Sequence[str]) -> list[int]:
        """Return the tags of a text: unknown words are lower, the first has a capital, the last a full stop."""
        tags = [self._tags.get(word, 0) for word in words]
        if tags and tags[0] < TITLE:
            tags[0] += TITLE
        return _end_tags(tags)


def _end_tags(tags: list[int]) -> list[int]:
    if tags and tags[-1] % len(MARKS) == 0:
        tags[-1] += STOP
    return tags
