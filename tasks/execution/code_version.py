"""Compute the version of a stage's code, so that edited code never reuses results of the old code.

The version is a digest of the files of the module that makes the result (of a stage with a process of its own: its
worker) and of all modules that this imports or starts, directly or not. It is part of a result's identity. `core`,
`tracking` and the modules that only run stages are left out: what they decide reaches a stage as its options and
inputs.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

from reviewlm.core.module_imports import absolute, find_imports, package_of
from reviewlm.core.provenance import PACKAGE

ROOMS = ("models", "training", "corpus", "evaluation", "data_checks", "tasks")
"""Rooms whose code makes results."""
RUNS_STAGES = re.compile(r"reviewlm\.tasks(\.generate|\.execution(\.\w+)?|\.records(\.track)?)?")
"""Modules of `tasks` that run stages and record runs."""
REGISTRIES = {
    "reviewlm.models.specs.model_class": "reviewlm.models.specs",
    "reviewlm.models.classification.spec.classifier_class": "reviewlm.models.classification.spec",
    "reviewlm.training.fit.fit_model": "reviewlm.training.fit",
    "reviewlm.training.labelling.fitting.fit_classifier": "reviewlm.training.labelling.fitting",
}
"""Function that a module imports to open or fit a model of any kind, and the module with the table of all kinds."""
WORKERS = {
    "fit": "reviewlm.tasks.fitting.fit_worker",
    "fit-classifier": "reviewlm.tasks.classification.fit_worker",
    "score": "reviewlm.evaluation.scoring.score",
}
"""Modules that make the result of a stage in processes of their own, here or on nodes of a cluster."""
REGISTERED = re.compile(r'^    "(?P<kind>\w+)": .*"(?P<module>[.\w]+):\w+"', re.MULTILINE)
"""Row of a table of kinds: the kind, and the module of its class or of the function that fits it."""
DIGITS = 12


class SourceCode:
    """The modules below the folder of a package `reviewlm` (by default: of this process)."""

    def __init__(self, folder: Path = PACKAGE) -> None:
        self.folder = folder
        self.version = cache(self._version)
        self.whole = cache(self._whole)
        self.used_by = cache(self._used_by)
        self._file = cache(self._file_of)
        self._names = cache(self._names_in)
        self._digest = cache(self._digest_of)
        self._kinds = cache(self._kinds_in)

    def _version(self, root: str, kind: str = "") -> str:
        """Return the digest of the code that makes a result; arguments as those of `used_by`."""
        lines = (f"{name} {self._digest(name)}\n" for name in sorted(self.used_by(root, kind)))
        return _short("".join(lines).encode())

    def _whole(self) -> str:
        """Return the digest of the code of all results."""
        lines = []
        for room in ROOMS:
            for file in sorted((self.folder / room).rglob("*.py")):
                place = file.relative_to(self.folder).with_suffix("")
                lines.append(f"{place} {self._digest('.'.join(('reviewlm', *place.parts)))}\n")
        return _short("".join(lines).encode())

    def _used_by(self, root: str, kind: str = "") -> frozenset[str]:
        """Return the modules of `ROOMS` that a module imports or starts, directly or not, and itself.

        Args:
            root: The module; of a stage, that of the function that makes its result.
            kind: Use models of this kind only; "": of all kinds, if a module opens or fits models at all.
        """
        modules: set[str] = set()
        waiting = [root]
        while waiting:
            name = waiting.pop()
            if name in modules or self._file(name) is None:
                continue
            modules.add(name)
            names = self._names(name)
            waiting += [*names, name.rpartition(".")[0]]
            for registry in (REGISTRIES[opener] for opener in REGISTRIES.keys() & names):
                table = self._kinds(registry)
                waiting += [module for name, module in table.items() if kind in ("", name)]

        return frozenset(modules)

    def _file_of(self, module: str) -> Path | None:
        """Return the file of a module of `ROOMS` that makes results; None for any other."""
        first, *inner = module.split(".")
        if (
            first != "reviewlm"
            or not inner
            or inner[0] not in ROOMS
            or RUNS_STAGES.fullmatch(module)
        ):
            return None

        path = self.folder.joinpath(*inner)
        return next(
            (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()),
            None,
        )

    def _names_in(self, module: str) -> frozenset[str]:
        """Return the names that a module imports or starts: modules and members."""
        file = self._file(module)
        if file is None:
            return frozenset()
        return frozenset(find_imports(file.read_text(encoding="utf-8"), package_of(module, file)))

    def _kinds_in(self, registry: str) -> dict[str, str]:
        """Return the module of each kind in the table of a module."""
        file = self._file(registry)
        if file is None:
            return {}
        rows = REGISTERED.finditer(file.read_text(encoding="utf-8"))
        package = package_of(registry, file)
        return {row["kind"]: absolute(row["module"], package) for row in rows}

    def _digest_of(self, module: str) -> str:
        """Return the digest of a module's file, and of the data that stand beside it under its name."""
        file = self._file(module)
        files = []
        if file:
            files = sorted(file.parent.glob(f"{file.stem}.*"))

        return _short(b"".join(path.read_bytes() for path in files))


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]


@cache
def running_code() -> SourceCode:
    """Return the code of this process."""
    return SourceCode()
