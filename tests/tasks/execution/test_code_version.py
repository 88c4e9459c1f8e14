"""A stage's version is the digest of the code that makes its result, and of no other code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reviewlm.core.config.run_config import RunConfig
from reviewlm.tasks.execution.code_version import WORKERS, SourceCode
from reviewlm.tasks.execution.stage import run_stage

WORKER = WORKERS["fit"]
PROJECT = {
    "models/__init__.py": '"""Hold the models."""\n',
    "models/specs.py": (
        'KINDS = {\n    "ngram": (Spec, ".ngram.lm:NGramLM"),\n'
        '    "lstm": (Spec, ".neural.recurrent:NeuralLM"),\n}\n'
        "def model_class(kind): ...\n"
    ),
    "training/fit.py": (
        'FITS = {\n    "ngram": "reviewlm.training.counting:fit",\n    "lstm": "reviewlm.training.trainer:fit",\n}\n'
        "def fit_model(spec): ...\n"
    ),
    "training/counting.py": "LEAST = 1\n",
    "training/trainer.py": "RATE = 0.1\n",
    "models/ngram/lm.py": '"""Count."""\n\nfrom ..text import normal\n\nORDER = 5\n',
    "models/neural/recurrent.py": "from ..text import normal\n\nHIDDEN = 650\n",
    "models/text/__init__.py": "",
    "models/text/normal.py": "def lower(text):\n    return text.lower()\n",
    "corpus/clean.py": (
        "def clean():\n    from reviewlm.models.text.normal import (\n        lower,  # of words\n    )\n\n    return lower\n"
    ),
    "corpus/shown.py": "COLOUR = 1\n",
    "corpus/clean.yaml": "start: a\n",
    "tasks/execution/stage.py": "def run_stage(): ...\n",
    "tasks/data/prepare.py": (
        "from typing import TYPE_CHECKING\n\nfrom reviewlm.corpus.clean import clean\n"
        "from reviewlm.tasks.execution.stage import run_stage\n\n"
        "if TYPE_CHECKING:  # for hints\n    from reviewlm.corpus.shown import COLOUR\n\n    import reviewlm.corpus.shown\n\n"
        'run_stage(config, "prepare", {}, {}, clean)\n'
    ),
    "tasks/fitting/fit.py": 'WORKER = "reviewlm.tasks.fitting.fit_worker"\nrun_stage(config, "fit", {}, {}, make)\n',
    "tasks/fitting/fit_worker.py": "from reviewlm.models.specs import model_class\nfrom reviewlm.training.fit import fit_model\n",
    "tasks/evaluation/evaluate.py": (
        'from reviewlm.models.specs import model_class\n\nSTAGE = "observe"\nrun_stage(\n    config, STAGE, {}, {}, make)\n'
    ),
}
MAKERS = {
    "fit": WORKER,
    "prepare": "reviewlm.tasks.data.prepare",
    "observe": "reviewlm.tasks.evaluation.evaluate",
}
Edit = Callable[[str, str, str], set[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project of three stages."""
    for name, text in PROJECT.items():
        file = tmp_path / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "project"


def versions(project: Path) -> dict[str, str]:
    code = SourceCode(project)
    fits = {f"fit {kind}": code.version(WORKER, kind) for kind in ("ngram", "lstm")}
    return fits | {stage: code.version(maker) for stage, maker in MAKERS.items()}


@pytest.fixture
def edit(project: Path) -> Edit:
    """Replace a text in a file of the project; return the stages, and fits of one kind, with another version then."""

    def replace(
        name: str,
        old: str,
        new: str,
    ) -> set[str]:
        before, text = versions(project), (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new, 1))
        return {stage for stage, version in versions(project).items() if version != before[stage]}

    return replace


def test_the_fit_of_one_kind_uses_no_code_of_another() -> None:
    code = SourceCode()
    ngram, lstm, mixture = (code.used_by(WORKER, kind) for kind in ("ngram", "lstm", "mixture"))
    assert "reviewlm.training.ngram.smoothing.kneser_ney" in ngram - lstm
    assert "reviewlm.training.neural.trainer" in lstm - ngram
    assert "reviewlm.training.mixture.fitting" in mixture - ngram
    assert ngram | lstm | mixture < code.used_by(WORKER), (
        "a model with parts opens models of any kind"
    )
    assert "reviewlm.models.text.normal_form" in code.used_by("reviewlm.tasks.data.prepare")
    assert not {"reviewlm.models.ngram.lm", "reviewlm.models.neural.lm"} & code.used_by(
        "reviewlm.tasks.data.prepare"
    )


def test_every_import_of_python_itself_is_one_of_the_stage() -> None:
    """An import that the regular expression missed would let a stale result be used."""
    import ast

    code = SourceCode()
    for module in code.used_by("reviewlm.tasks.evaluation.evaluate") | code.used_by(
        "reviewlm.tasks.data.prepare"
    ):
        file = code._file(module)
        assert file is not None
        package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
        imported: set[str] = set()
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                node.body.clear()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*above, *([node.module] if node.module else [])])
                imported |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        assert {name for name in imported if code._file(name)} <= code._names(module), module


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        (
            "models/text/normal.py",
            "lower()",
            "upper()",
            {"prepare", "fit", "observe", "fit ngram", "fit lstm"},
        ),
        ("models/neural/recurrent.py", "650", "651", {"fit", "observe", "fit lstm"}),
        ("training/trainer.py", "0.1", "0.2", {"fit", "fit lstm"}),
    ],
    ids=["far below all", "a network", "a trainer, which opens no model"],
)
def test_an_edit_changes_the_version_of_the_stages_that_use_the_file(
    edit: Edit,
    file: str,
    old: str,
    new: str,
    changed: set[str],
) -> None:
    assert edit(file, old, new) == changed


def test_any_edit_changes_the_code_that_nodes_must_have(edit: Edit, project: Path) -> None:
    before = SourceCode(project).whole()
    edit("training/trainer.py", "0.1", "0.2")
    assert SourceCode(project).whole() != before
    edit("training/trainer.py", "0.2", "0.1")
    assert SourceCode(project).whole() == before


def test_a_stage_with_edited_code_builds_a_result_of_its_own(
    edit: Edit,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = RunConfig(execution={"home": str(tmp_path / "home")})

    def make(work: Path) -> dict[str, int]:
        (work / "file").write_text("result")
        return {}

    def run() -> object:
        monkeypatch.setattr(
            "reviewlm.tasks.execution.stage.running_code", lambda: SourceCode(project)
        )
        return run_stage(
            config.workspace,
            "prepare",
            {},
            {},
            make,
        )

    monkeypatch.setattr(make, "__module__", "reviewlm.tasks.data.prepare")
    before = run()
    edit("corpus/clean.py", "return lower", "return lower or None")
    after = run()
    assert not after.reused
    assert after.artifact.digest != before.artifact.digest
    assert run().reused
    edit("corpus/clean.py", "return lower or None", "return lower")
    assert run().artifact == before.artifact
