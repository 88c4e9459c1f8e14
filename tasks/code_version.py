"""Add a digest of edited code to a stage's version, so that edited code never re-uses results of the old code.

A stage's version is raised by hand when its result changes. `accepted_code.txt` lists the modules that make results,
and the code of each for which the present versions stand. Where a module that a stage uses differs from it, the
stage's version gets a suffix, "5+3f2a91c0": its results, and all that is made of them, are built again and kept apart.
`reviewlm code --same-result` accepts an edit that changes no result.

Comments, docstrings and layout are not compared. Nor are `core`, `tracking` and the modules that only run stages: what
they decide reaches a stage as its options and inputs.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from core.output import write_output
from core.provenance import SOURCE
from models.npy_files import PARSING

ACCEPTED_FILE = Path(__file__).with_name("accepted_code.txt")
ROOMS = ("models", "corpus", "evaluation", "data_checks", "tasks")
"""Rooms whose code makes results."""
RUNNING_STAGES = re.compile(r"tasks(\.tracking\b.*|\.\w+)?")
"""Modules of `tasks` that run stages and record runs."""
REGISTRIES = {
    "models.specs.model_class": "models.specs",
    "models.classification.spec.classifier_class": "models.classification.spec",
}
"""Function that a module imports to open a model of any kind, and the module that registers all their classes."""
DYNAMIC = re.compile(r"(?P<module>\.\w+(\.\w+)*|\w+(\.\w+)+)(?P<name>:\w+)?")
"""String by which a module is started or imported: "tasks.fitting.fit_worker", ".ngram.lm:NGramLM"."""
WORKERS = {
    "fit": "tasks.fitting.fit_worker", "fit-classifier": "tasks.classification.fit_worker",
    "score": "tasks.evaluation.score_worker",
}  # fmt: skip
"""Modules that make the result of a stage in a process of their own, here or at a worker of a pool."""
DIGITS = 12
SUFFIX_DIGITS = 8


@dataclass(frozen=True)
class References:
    """The modules that a module imports or starts, and those it registers by strings such as ".ngram.lm:NGramLM"."""

    imports: frozenset[str]
    registers: frozenset[str]


class SourceCode:
    """The modules below a project's folder, compared with a table of accepted code.

    Args:
        folder: Folder of the rooms.
        table: Lines of a module's name, the digest of its code, and that of its bytes.
    """

    def __init__(self, folder: Path = SOURCE, table: Path = ACCEPTED_FILE) -> None:
        self.folder, self.table = folder, table
        self._known: dict[str, References] = {}
        self._uses: dict[tuple[str, str], frozenset[str]] = {}

    @cached_property
    def edited(self) -> frozenset[str]:
        """Accepted modules whose code differs now; those with the accepted bytes are not parsed."""
        return frozenset(
            name for name, (code, content) in self._accepted.items()
            if _short(self._bytes(name)) != content and self._digest(name) != code
        )  # fmt: skip

    def changed(self, root: str, model: str = "") -> frozenset[str]:
        """Return those of the modules in `used_by` whose code is not the accepted one."""
        if not self.edited:  # a new module is used by an edited one only
            return frozenset()
        used = self.used_by(root, model)
        return frozenset(name for name in used if name in self.edited or name not in self._accepted)

    def version(self, version: int, root: str, model: str = "") -> int | str:
        """Return a stage's version, with a suffix if modules that it uses have changed; see `changed`."""
        changed = sorted(self.changed(root, model))
        if not changed:
            return version
        code = "".join(f"{name} {self._digest(name)}\n" for name in changed)
        return f"{version}+{_short(code.encode())[:SUFFIX_DIGITS]}"

    def used_by(self, root: str, model: str = "") -> frozenset[str]:
        """Return the modules of `ROOMS` that a module imports or starts, directly or not, and itself.

        Args:
            root: The module; of a stage, that of the function that makes its result.
            model: Of the registered classes use only this one; "": all, if a module opens models at all.
        """
        if (root, model) not in self._uses:
            self._uses[root, model] = self._reached(root, model)
        return self._uses[root, model]

    def _reached(self, root: str, model: str) -> frozenset[str]:
        found, waiting = set[str](), [root]
        while waiting:
            if (name := waiting.pop()) in found or self._file(name) is None:
                continue
            found.add(name)
            imports = self._used(name).imports
            waiting += [*imports, name.rpartition(".")[0]]
            for registry in (REGISTRIES[opener] for opener in REGISTRIES.keys() & imports):
                package = registry.rpartition(".")[0]
                waiting += [_absolute(model, package)] if model else self._used(registry).registers
        return frozenset(found)

    def makers(self) -> dict[str, str]:
        """Return the module that makes the result of each stage: that of its call of `run_stage`, or its worker."""
        found: dict[str, str] = {}
        for file in sorted((self.folder / "tasks").rglob("*.py")):
            module = ".".join(file.relative_to(self.folder).with_suffix("").parts)
            if "run_stage(" in file.read_text(encoding="utf-8") and not RUNNING_STAGES.fullmatch(module):
                found |= {stage: WORKERS.get(stage, module) for stage in _stages(self._tree(module))}
        return dict(sorted(found.items()))

    def accept(self) -> None:
        """Write the present code of all modules that make results to the table.

        Raises:
            StoreFull, NotWritable: The operating system refuses.
        """
        names = set[str]().union(*map(self.used_by, self.makers().values()))
        lines = (f"{name} {self._digest(name)} {_short(self._bytes(name))}\n" for name in sorted(names))
        write_output(self.table, "".join(lines))
        self.__dict__.pop("edited", None)
        self.__dict__.pop("_accepted", None)

    @cached_property
    def _accepted(self) -> Mapping[str, tuple[str, str]]:
        lines = self.table.read_text(encoding="utf-8").splitlines() if self.table.exists() else []
        return {name: (code, content) for name, code, content in map(str.split, lines)}

    def _file(self, module: str) -> Path | None:
        """Return the file of a module of `ROOMS` that makes results; None for any other."""
        room = module.partition(".")[0]
        if room not in ROOMS or RUNNING_STAGES.fullmatch(module):
            return None
        path = self.folder.joinpath(*module.split("."))
        return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)

    def _bytes(self, module: str) -> bytes:
        file = self._file(module)
        return file.read_bytes() if file else b""

    def _tree(self, module: str) -> ast.Module:
        with PARSING:
            return ast.parse(self._bytes(module))

    def _digest(self, module: str) -> str:
        """Return the digest of a module's syntax tree without docstrings, line numbers and comments."""
        return _short(ast.dump(_Bare().visit(self._tree(module))).encode())

    def _used(self, module: str) -> References:
        if module not in self._known:
            file, tree = self._file(module), self._tree(module)
            package = module if file and file.name == "__init__.py" else module.rpartition(".")[0]
            imports, registers = set(_imported(tree, package)), set[str]()
            for text in _strings(tree):
                if found := DYNAMIC.fullmatch(text):
                    (registers if found["name"] else imports).add(_absolute(text, package))
            self._known[module] = References(frozenset(imports), frozenset(registers))
        return self._known[module]


class _Bare(ast.NodeTransformer):
    """Remove docstrings, also those below assignments."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        """Drop an expression that is only a string."""
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node


def _absolute(text: str, package: str) -> str:
    """Return the full name of the module in a string of `DYNAMIC`."""
    name = text.partition(":")[0]
    return package + name if name.startswith(".") else name


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield what a module imports while it runs: modules, and names that may be modules."""
    for node in _while_running(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (above, node.module)))
            yield module
            yield from (f"{module}.{name.name}" for name in node.names)


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in _while_running(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _while_running(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below a node without those that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _while_running(child)


def _stages(tree: ast.Module) -> Iterator[str]:
    """Yield the names of stages in the calls of `run_stage`; a name may be a constant of the module."""
    named = {
        target.id: value.value
        for node in tree.body if isinstance(node, ast.Assign)
        for targets in node.targets
        for target, value in _pairs(targets, node.value)
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "run_stage":
            stage = node.args[1]
            yield str(stage.value) if isinstance(stage, ast.Constant) else str(named.get(ast.unparse(stage), "?"))


def _pairs(target: ast.expr, value: ast.expr) -> Iterable[tuple[ast.Name, ast.Constant]]:
    """Yield the names and constants of an assignment, also of `A, B = "a", 1`."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=False):
            yield from _pairs(one, its)
    elif isinstance(target, ast.Name) and isinstance(value, ast.Constant):
        yield target, value


@cache
def running_code() -> SourceCode:
    """Return the code of this process."""
    return SourceCode()
