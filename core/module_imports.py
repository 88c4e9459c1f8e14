"""Read which modules a module imports, without importing it.

Imports are read by a regular expression, because syntax trees of 400 modules take seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

IMPORT = re.compile(
    r"^[ \t]*(?:from (?P<base>[.\w]+) import (?P<names>\([^)]*\)|.*)|import (?P<plain>[.\w]+))",
    re.MULTILINE,
)
FOR_TYPES = re.compile(r"^if TYPE_CHECKING:.*\n(?:[ \t]+.*\n|\n)*", re.MULTILINE)
STARTED = re.compile(r'"(?P<module>\.\w+(?:\.\w+)*|\w+(?:\.\w+)+)(?P<member>:\w+)?"')
"""String by which a module is started or registered: "reviewlm.tasks.fitting.fit_worker", ".ngram.lm:NGramLM"."""


def find_imports(text: str, package: str) -> Iterator[str]:
    """Yield the names that a module's text imports or starts: modules, and members that may be modules.

    Imports inside functions count, those for type checkers do not.

    Args:
        text: Content of the module's file.
        package: Package that relative imports start from.
    """
    yield from (
        absolute(one["module"], package) for one in STARTED.finditer(text) if not one["member"]
    )
    for line in IMPORT.finditer(FOR_TYPES.sub("", text)):
        base = line["plain"] or line["base"]
        level = len(base) - len(base.lstrip("."))
        parts = package.split(".")
        above = []
        if level:
            above = parts[: len(parts) - level + 1]

        module = ".".join(filter(None, (*above, base.lstrip("."))))
        yield module
        members = re.sub(r"#.*| as \w+", "", line["names"] or "")
        yield from (f"{module}.{member}" for member in re.findall(r"\w+", members))


def package_of(module: str, file: Path) -> str:
    """Return the package that the relative imports of a module start from."""
    if file.name == "__init__.py":
        return module
    return module.rpartition(".")[0]


def absolute(module: str, package: str) -> str:
    """Return the full name of a module that a string of `package` names."""
    return package + module if module.startswith(".") else module
