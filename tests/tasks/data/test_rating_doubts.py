"""Whoever asks a version for a rating hears that its data rate equal texts differently."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.store import Store
from reviewlm.corpus.account import ACCOUNT, Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.tasks.data.rating_doubts import doubts_about_stars
from reviewlm.tracking.tags import DATA_TAG


@pytest.mark.parametrize("odd", [True, False])
def test_odd_ratings_of_a_versions_data_are_told(own_home: object, odd: bool) -> None:
    config = RunConfig()
    entry = Entry(
        "prepare",
        Outcome.NOTED,
        Kind.OTHER_RATINGS,
        60,
        detail="such as 'x'",
        odd=odd,
    )
    facts = {ACCOUNT: [entry.to_dict()]}
    clean = (
        Store.of(config.home)
        .build(
            "prepare",
            1,
            {},
            {},
            lambda work: facts,
        )
        .artifact
    )
    version = SimpleNamespace(tags={DATA_TAG: clean.digest})
    assert len(doubts_about_stars(config.home, version)) == odd


def test_a_version_whose_data_are_elsewhere_has_no_doubts(own_home: object) -> None:
    assert doubts_about_stars(RunConfig().home, SimpleNamespace(tags={})) == []
