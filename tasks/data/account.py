"""Add up the account of a run's data from the results of its stages."""

from __future__ import annotations

from reviewlm.core.store import Artifact
from reviewlm.corpus.account import ACCOUNT, Account, entries_of


def account_of(dataset: Artifact, *later: Artifact) -> Account:
    """Return the account of a data set and of the results made of it.

    Args:
        dataset: Result of the stage "ingest"; its fact `ACCOUNT` is a whole account.
        later: Results of later stages in their order; the fact `ACCOUNT` of each has the entries that it adds.
    """
    account = Account.from_dict(dataset.facts[ACCOUNT])
    for artifact in later:
        account = account.plus(entries_of(artifact.facts.get(ACCOUNT, ())))
    return account
