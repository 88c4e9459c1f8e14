"""Read fields from the names of folders, as Spark and Hive write them: `stars=5/part-0.parquet`.

They leave a column by which they divide a table out of its files, so its values are in these names only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from corpus.schema import FIELDS

FIELD = re.compile(r"(\w+)=(.+)", re.DOTALL)
MISSING = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark write for a missing value."""


def folder_fields(source: str) -> dict[str, str]:
    """Return names and values in the folders of a source such as `a/stars=5/x.json` or `x.tar:stars=5/y.json`."""
    folders = (folder.rpartition(":")[2] for folder in source.split("/")[:-1])
    pairs = (pair for folder in folders if (pair := FIELD.fullmatch(folder)))
    return {pair[1]: unquote(pair[2]) for pair in pairs if pair[2] != MISSING}


def our_fields(source: str, renamed: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a review in the folders of a source, under our names.

    Args:
        renamed: {our name: their name}.
    """
    given = folder_fields(source)
    ours = {ours: given[theirs] for ours, theirs in renamed.items() if theirs in given}
    return {name: given[name] for name in FIELDS if name in given} | ours
