"""Every code block of README and docs says how it is checked, and what it shows can be typed."""

from __future__ import annotations

import ast
import doctest
import json
import re
import shlex
import subprocess
import tomllib
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.main import get_command

from reviewlm.cli import app
from reviewlm.core.config.presets import PRESETS, load_config
from reviewlm.core.services.pools import LIMITS
from reviewlm.tasks.fitting.search_space import chosen_model
from tests.documentation.code_blocks import PAGES, ROOT, WAYS, Block, Command, blocks, commands
from tests.marked_cases import long_but
from tests.syntax_trees import tree_of

EVERY = blocks()
SHELL = [block for block in EVERY if block.language == "sh"]
COMMANDS = [(block, command) for block in SHELL for command in commands(block.text)]
UNCHECKED = {
    "cd",
    "cat",
    "createdb",
    "curl",
    "docker",
    "export",
    "git",
    "install",
    "jupyter",
    "kubectl",
    "mkdir",
    "mlflow",
    "ray",
    "serve",
    "source",
    "ssh",
    "sudo",
    "tar",
    "torchrun",
}
"""Programs of others whose arguments are not checked here; those of MLflow are, by a test marked `long`."""
TYPED = re.compile(r"^ {4,}(\.venv/|reviewlm |python3? |make |pip |mlflow |prefect |curl )")


def of(language: str, *ways: str) -> list[Block]:
    return [block for block in EVERY if block.language == language and block.way in ways]


def test_every_block_says_how_it_is_checked() -> None:
    assert [str(block) for block in EVERY if block.way not in WAYS.get(block.language, ())] == []
    assert len(EVERY) >= 80
    assert len(of("sh", "run")) >= 8


def test_no_command_hides_in_an_indented_block() -> None:
    hidden = []
    for page in PAGES:
        text = re.sub(
            r"^( *```).*?^ *```",
            "",
            page.read_text(encoding="utf-8"),
            flags=re.DOTALL | re.MULTILINE,
        )
        hidden += [f"{page.name}: {line}" for line in text.splitlines() if TYPED.match(line)]
    assert hidden == []


def test_the_shell_understands_every_block() -> None:
    for block in SHELL:
        done = subprocess.run(
            ["bash", "-n"],
            input=block.text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{block}: {done.stderr}"


@cache
def whole_command_line() -> Any:
    return get_command(app)


def understood(words: list[str]) -> dict[str, Any]:
    """Parse a command of ours without running it; return its parameters."""
    command, context = whole_command_line(), None
    while words and hasattr(command, "commands"):
        name, *words = words
        context = command.make_context("reviewlm", [name], parent=context, resilient_parsing=True)
        command = command.commands[name]
    return dict(command.make_context("verb", words, parent=context).params)


MENTIONED = re.compile(r"`reviewlm ([a-z][^`|]*)")
ROOMS = (
    "core",
    "corpus",
    "data_checks",
    "evaluation",
    "flows",
    "models",
    "reviewlm",
    "serving",
    "tasks",
    "tracking",
    "training",
)
FILLED = "\0"
"""Stands for what an f-string fills in: a value, or options, or nothing."""


def literals(file: Path) -> list[str]:
    """The strings of a module, also its docstrings."""
    texts = []
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.JoinedStr):
            texts.append(
                "".join(
                    str(part.value) if isinstance(part, ast.Constant) else FILLED
                    for part in node.values
                )
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(node.value)
    return texts


def refusal(command: str) -> str:
    """Return why a command cannot be typed as it stands, "" if only what its reader adds is missing."""
    try:
        understood(shlex.split(re.sub(r"\b(N|NUMBER|VERSION)\b", "1", command)))
    except (typer.BadParameter.__base__, KeyError) as error:
        incomplete = type(error).__name__ in ("MissingParameter", "NoArgsIsHelpError")
        return "" if incomplete or "requires an argument" in str(error) else repr(error)
    return ""


def test_the_commands_that_messages_name_can_be_typed() -> None:
    named = {
        (str(file.relative_to(ROOT)), " ".join(command.split()))
        for room in ROOMS
        for file in (ROOT / room).rglob("*.py")
        for text in literals(file)
        for command in MENTIONED.findall(text)
    }
    assert len(named) > 90
    wrong = []
    for file, command in sorted(named):
        usual = re.sub(rf"{FILLED}(?=[-{FILLED}])", "", command)
        reasons = [refusal(usual.replace(FILLED, filled)) for filled in ("1", "")]
        if all(reasons):
            wrong.append(f"{file}: {command!r}: {reasons[0]}")
    assert wrong == []


def require_ours(words: list[str]) -> None:
    parameters = understood(words)
    preset = parameters.get("preset")
    if preset and (PRESETS / f"{preset}.toml").is_file():
        config = load_config(preset, parameters.get("set") or [])
        if words[:2] == ["models", "sweep"]:
            assert chosen_model(config.models, parameters["model"])[1].name in {
                spec.name for spec in config.models
            }
    assert all(name.isidentifier() for name in parameters), "parsed into the verb's parameters"


def require_target(words: list[str]) -> None:
    targets = re.findall(
        r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert {word for word in words if "=" not in word} <= set(targets)


def require_module(words: list[str]) -> None:
    """The module exists; where it is ours, so do its options."""
    flag, module, *rest = words
    found = find_spec(module)
    assert flag == "-m"
    assert found is not None
    if Path(str(found.origin)).is_relative_to(ROOT / "benchmarks"):
        text = "".join(
            path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").rglob("*.py")
        )
        assert [word for word in rest if word.startswith("--") and f'"{word}"' not in text] == []


def require_prefect(words: list[str]) -> None:
    """Deployments and limits exist; other commands are those that `core/services/pools.py` calls, with their files."""
    if words[:2] == ["deployment", "run"]:
        require_deployment(words)
        return
    if words[:2] == ["gcl", "create"]:
        assert words[2] in LIMITS
        assert words[3] == "--limit"
        return
    called = (ROOT / "core" / "services" / "pools.py").read_text(encoding="utf-8")
    assert all(f'"{word}"' in called for word in words[:2])
    assert all((ROOT / word).is_file() for word in words if word.startswith("deploy/"))


def require_deployment(words: list[str]) -> None:
    flow, _, name = words[2].partition("/")
    every = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    module, function = next(one["entrypoint"] for one in every if one["name"] == name).rsplit(
        ".", 1
    )
    text = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text(encoding="utf-8")
    assert re.search(rf'@flow\(name="{flow}"[^\n]*\)\ndef {function}\(', text)


def require_extras(words: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    assert words[0] in ("install", "wheel")
    for word in words:
        if named := re.fullmatch(r"(?:\.|reviewlm)\[([\w,]+)\]", word):
            assert set(named[1].split(",")) <= set(extras)


KNOWN = {
    "reviewlm": require_ours,
    "make": require_target,
    "python": require_module,
    "prefect": require_prefect,
    "pip": require_extras,
}


@pytest.mark.parametrize(
    ("block", "command"), COMMANDS, ids=[f"{b}-{' '.join(c.words)[:40]}" for b, c in COMMANDS]
)
def test_a_documented_command_can_be_typed(block: Block, command: Command) -> None:
    program, *words = command.words
    name = Path(program).name
    assert program in (name, f".venv/bin/{name}")
    if name in KNOWN and block.way != "fails":
        KNOWN[name](words)
    else:
        assert name in {*UNCHECKED, *KNOWN}
    assert not command.file.endswith(".toml"), (
        "a preset is a block of its own, which another test reads"
    )


def test_no_command_of_the_readme_waits_for_a_word_of_its_reader() -> None:
    """A command with a placeholder, such as `git clone ADDRESS`, is typed as it stands."""
    typed = [
        word
        for block, command in COMMANDS
        if block.page == "README.md"
        for word in command.words
        if re.fullmatch(r"[A-Z_]{3,}|<.*>", word)
    ]
    assert typed == []


@pytest.mark.long
def test_mlflow_understands_the_commands_that_name_it() -> None:
    from mlflow.cli import cli

    named = [
        command.words[1:] for _, command in COMMANDS if Path(command.words[0]).name == "mlflow"
    ]
    assert len(named) >= 3
    for words in named:
        group: Any = cli
        while hasattr(group, "commands"):
            name, *words = words
            group = group.commands[name]
        group.make_context("mlflow", words)


@pytest.mark.parametrize("block", of("toml", "preset"), ids=str)
def test_the_settings_of_a_block_can_be_read(block: Block, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(block.text)
    assert load_config(str(tmp_path / "mine.toml")).models


@pytest.mark.parametrize("block", of("json", "output"), ids=str)
def test_json_is_json(block: Block) -> None:
    assert json.loads(block.text)


@pytest.mark.parametrize("block", of("python", "parsed", "run"), ids=str)
def test_what_python_blocks_import_exists(block: Block) -> None:
    source = block.text
    if ">>>" in source:
        source = "".join(example.source for example in doctest.DocTestParser().get_examples(source))
    for node in ast.walk(compile(source, str(block), "exec", ast.PyCF_ONLY_AST)):
        if isinstance(node, ast.ImportFrom):
            module = import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []
        elif isinstance(node, ast.Import):
            assert all(find_spec(alias.name) for alias in node.names)


NO_HOME = [block for block in of("python", "run") if 'load("champion")' not in block.text]
QUICK = [block for block in NO_HOME if "reviewlm.models.neural" not in block.text]


@pytest.mark.parametrize("block", long_but(NO_HOME, QUICK), ids=str)
def test_python_blocks_that_need_no_home_run(
    block: Block,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if ">>>" in block.text:
        test = doctest.DocTestParser().get_doctest(
            block.text,
            {},
            str(block),
            None,
            None,
        )
        assert doctest.DocTestRunner().run(test).failed == 0
    else:
        exec(compile(block.text, str(block), "exec"), {})
