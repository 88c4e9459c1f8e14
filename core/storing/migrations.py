"""Read revisions of database tables from migration scripts, without importing the library that they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Revisions:
    """Revisions of a library's tables; "" if there are none, or if they are unknown.

    Args:
        stored: That of the database.
        installed: The newest one of the installed library.
    """

    stored: str = ""
    installed: str = ""

    @property
    def differ(self) -> bool:
        """Whether the library will migrate the tables."""
        return bool(self.stored and self.installed and self.stored != self.installed)


def revisions_in(folders: Iterable[Path]) -> tuple[set[str], str]:
    """Return all revisions of the migration scripts in these folders, and the newest; "" if there is not just one."""
    made, replaced = set[str](), set[str]()
    for file in (file for folder in folders for file in folder.glob("*.py")):
        text = file.read_text(encoding="utf-8")
        made |= set(re.findall(r'^revision = "(\w+)"', text, re.MULTILINE))
        replaced |= set(re.findall(r'^down_revision = "(\w+)"', text, re.MULTILINE))
    heads = made - replaced
    return made, heads.pop() if len(heads) == 1 else ""
