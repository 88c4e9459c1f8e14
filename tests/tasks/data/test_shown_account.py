"""The log has the sum of the account again only after a stage that has changed it."""

from __future__ import annotations

import logging

import pytest

from reviewlm.corpus.account import Account, Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.tasks.data import account as module

READ = Account({"a.csv": 100}, (Entry("ingest", Outcome.COPY, Kind.SAME_TEXT_SAME_DATE, 3),))
EMPTY = Entry("prepare", Outcome.LEFT_OUT, Kind.EMPTY_TEXT, 2)


@pytest.mark.parametrize(
    ("account", "step", "lines"),
    [(READ, "", 1), (READ, "prepare", 0), (READ.plus([EMPTY]), "prepare", 1)],
    ids=["after reading", "unchanged by prepare", "changed by prepare"],
)
def test_the_sum_is_logged_when_it_is_new(
    account: Account,
    step: str,
    lines: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "show_table", lambda *_: None)
    with caplog.at_level(logging.INFO, logger=module.log.name):
        module.show_account(account, step)

    assert caplog.messages == [account.equation] * lines
