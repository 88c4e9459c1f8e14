"""Dependencies point one way and each framework stays in its room (ARCHITECTURE.md, "Rooms")."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from tests.syntax_trees import tree_of

ROOT = Path(__file__).resolve().parent.parent
BELOW = {
    "reviewlm": {
        "serving",
        "flows",
        "tasks",
        "training",
        "corpus",
        "evaluation",
        "data_checks",
        "tracking",
        "core",
        "models",
    },
    "flows": {"tasks", "core"},
    "serving": {"tracking", "core", "models"},
    "tasks": {"training", "corpus", "evaluation", "data_checks", "tracking", "core", "models"},
    "course": {"reviewlm", "training", "corpus", "evaluation", "core", "models"},
    "tracking": {"core", "models"},
    "evaluation": {"corpus", "core", "models"},
    "corpus": {"core", "models"},
    "data_checks": {"evaluation", "core", "models"},
    "core": {"models"},
    "training": {"models"},
    "models": set(),
}
"""By room, the rooms that it may import."""
HOMES = {
    "prefect": {"flows", "tasks"},
    "mlflow": {"tracking"},
    "great_expectations": {"data_checks"},
    "fastapi": {"serving"},
    "ray": {"serving", "tasks"},
    "torch": {"models", "training", "serving", "course"},
    "optuna": {"tasks"},
    "gensim": {"training"},
    "jinja2": {"evaluation"},
}
"""By framework, the rooms that may import it."""
VAGUE = {"utils", "util", "helpers", "helper", "misc", "common", "manager"}


def files() -> list[Path]:
    return [path for room in BELOW for path in sorted((ROOT / room).rglob("*.py"))]


def module_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return name if name.split(".")[0] == "reviewlm" else f"reviewlm.{name}"


def room_of(module: str) -> str:
    """Return the room of a module of ours, else the framework: the first part of its name."""
    first, second = [*module.split("."), ""][:2]
    return second if first == "reviewlm" and second in BELOW else first


@cache
def imports_of(path: Path) -> tuple[tuple[str, int, bool], ...]:
    """Return module, line, and whether it is imported as soon as the file is; relative ones by their whole names."""
    own = module_of(path).split(".")
    package = own if path.name == "__init__.py" else own[:-1]
    found = []
    for node, now in _imports_in(tree_of(path), True):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            whole = ".".join([*above, *([node.module] if node.module else [])])
            names = [_module_or_member(whole, alias.name) for alias in node.names]
        found += [(name, node.lineno, now) for name in dict.fromkeys(names)]
    return tuple(found)


def _imports_in(node: ast.AST, now: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Give all imports below a node, and whether each is executed as soon as the file is imported."""
    for field in (
        "body",
        "orelse",
        "finalbody",
        "handlers",
        "cases",
    ):  # an expression holds no import
        for below in getattr(node, field, ()):
            if isinstance(below, ast.Import | ast.ImportFrom):
                yield below, now
            else:
                yield from _imports_in(below, now and not _is_deferred(below))


def _is_deferred(node: ast.AST) -> bool:
    only_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    return only_types or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _module_or_member(module: str, name: str) -> str:
    room = room_of(module)
    inner = ROOT.joinpath(*module.split(".")[room != "reviewlm" :], name)
    is_module = room in BELOW and (inner.with_suffix(".py").exists() or inner.is_dir())
    return f"{module}.{name}" if is_module else module


def imports_of_rooms() -> Iterator[tuple[str, str, str]]:
    """Each import of the code: where it stands, its room, and the room or framework that is imported."""
    for path in files():
        room = room_of(module_of(path))
        for module, line, _ in imports_of(path):
            yield f"{path.relative_to(ROOT)}:{line}", room, room_of(module)


def test_every_import_points_downwards() -> None:
    wrong = [
        f"{place}: {room} may not import {top}"
        for place, room, top in imports_of_rooms()
        if top in BELOW and top not in {room, *BELOW[room]}
    ]
    assert wrong == []


def test_every_framework_stays_in_its_room() -> None:
    wrong = [
        f"{place}: {room} may not import {top}"
        for place, room, top in imports_of_rooms()
        if room not in HOMES.get(top, {room})
    ]
    assert wrong == []


def test_every_permission_is_used() -> None:
    """A permission that nothing uses says that a room depends on another although it does not."""
    used = {
        (room_of(module_of(path)), room_of(module))
        for path in files()
        for module, _, _ in imports_of(path)
    }
    rooms = {(room, below) for room, allowed in BELOW.items() for below in allowed}
    frameworks = {(room, name) for name, allowed in HOMES.items() for room in allowed}
    assert (rooms | frameworks) - used == set()


def test_every_import_of_ours_exists_also_inside_functions() -> None:
    """There an import is first tried when a user asks for that very thing."""
    absent = [
        f"{path.relative_to(ROOT)}:{line}: {module}"
        for path in files()
        for module, line, _ in imports_of(path)
        if room_of(module) in BELOW and not find_spec(module)
    ]
    assert absent == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """An import inside a function or for type checkers counts: who reads one module of a circle must read them all."""
    modules = {module_of(path): path for path in files()}
    imports = {
        name: {module for module, _, _ in imports_of(path)} & set(modules)
        for name, path in modules.items()
    }
    closures = {name: closure_of(name, imports) for name in modules}
    assert [name for name in modules if name in closures[name]] == []


def closure_of(module: str, imports: dict[str, set[str]]) -> set[str]:
    """Return all modules that one needs, without itself unless it is part of a circle."""
    needed, waiting = set[str](), [*imports[module]]
    while waiting:
        if (name := waiting.pop()) not in needed:
            needed.add(name)
            waiting += imports[name]
    return needed


def test_models_import_themselves_only_relatively_so_that_a_vendored_copy_works() -> None:
    absolute = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in (ROOT / "models").rglob("*.py")
        for node in ast.walk(tree_of(path))
        if (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and (node.module or "").split(".")[0] in BELOW
        )
        or (
            isinstance(node, ast.Import)
            and any(alias.name.split(".")[0] in BELOW for alias in node.names)
        )
    ]
    assert absolute == []


def test_the_name_of_a_class_means_the_same_in_all_rooms() -> None:
    places: dict[str, list[str]] = {}
    for path in files():
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module_of(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_names_of_modules_say_what_they_hold() -> None:
    assert [str(path) for path in files() if path.stem in VAGUE] == []


def test_tests_lie_where_what_they_test_lies() -> None:
    """Tests of the whole pipeline alone have folders of their own: one for ordinary runs, one for faults."""
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    inside = [folder.relative_to(ROOT / "tests") for folder in folders]
    mirrored = {str(one) for one in inside if one.parts and one.parts[0] in BELOW}
    assert {one for one in mirrored if not (ROOT / one).is_dir()} == {
        "flows/retrain",
        "flows/faults",
    }


def text_of(node: ast.expr, assigned: dict[str, ast.expr]) -> str:
    """Return the text of an expression as far as it stands in the code; {} where it does not."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part, assigned) for part in node.values)
    if isinstance(node, ast.BinOp):
        return text_of(node.left, assigned) + text_of(node.right, assigned)
    if isinstance(node, ast.Name) and node.id in assigned:
        return text_of(assigned[node.id], {})
    return "{}"


def test_programs_of_several_lines_are_files() -> None:
    """mypy checks the files of `tests/programs`, but nothing that a test passes to an interpreter as a text."""
    wrong = []
    for path in (ROOT / "tests").rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        if '"-c"' not in code:
            continue
        nodes = [*ast.walk(tree_of(path))]
        assigned = {
            target.id: node.value
            for node in nodes
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in nodes:
            words = node.elts if isinstance(node, ast.List) else []
            for option, program in pairwise(words):
                if text_of(option, {}) == "-c" and "\n" in text_of(program, assigned):
                    wrong.append(f"{path.relative_to(ROOT)}:{program.lineno}")
    assert wrong == []


def test_no_two_test_modules_share_a_name() -> None:
    """pytest imports a test module by its bare name; a second one of that name ends the whole run at collection."""
    names = Counter(
        path.name
        for path in (ROOT / "tests").rglob("*.py")
        if path.name not in ("conftest.py", "__init__.py")
    )
    assert [name for name, count in names.items() if count > 1] == []
