"""Sum up what became of every record of a run (its account) from the results of its stages, and show it."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from reviewlm.core.store import Artifact
from reviewlm.corpus.account import ACCOUNT, Account, Entry, entries_of
from reviewlm.tasks.execution.stage import show_table

log = logging.getLogger(__name__)


def account_of(dataset: Artifact, *later: Artifact) -> Account:
    """Return the account of a data set and of the results made of it.

    Args:
        dataset: Result of the stage "ingest"; its fact `ACCOUNT` is a whole account.
        later: Results of later stages in their order; the fact `ACCOUNT` of each has the entries that it adds.
    """
    account = Account.from_dict(dataset.facts.get(ACCOUNT, {"files": (), "entries": ()}))
    for artifact in later:
        account = account.plus(entries_of(artifact.facts.get(ACCOUNT, ())))
    return account


def show_account(account: Account, step: str = "") -> None:
    """Log the sum of the account, warn of what looks odd, and show a table in Prefect.

    Args:
        step: Warn of the entries of this stage only, because the others have been told; log the sum only if it has any.
    """
    if not step or any(entry.step == step for entry in account.entries):
        log.info("%s", account.equation)

    warn_of_oddities(entry for entry in account.odd if step in ("", entry.step))
    show_table("account", account.rows(), f"{account.equation}: what became of the records")


def warn_of_oddities(entries: Iterable[Entry]) -> None:
    """Warn of what looks odd."""
    for entry in entries:
        if entry.odd:
            log.warning("%s", entry.sentence)
