"""Edited code gives the results of the stages that use it a version of their own, and no others."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from core.config.run_config import RunConfig
from models.specs import KINDS, MixtureSpec, NGramSpec, RecurrentSpec
from tasks.code_version import ACCEPTED_FILE, WORKERS, SourceCode
from tasks.fitting import fit
from tasks.stage import run_stage

WORKER, NGRAM, LSTM = WORKERS["fit"], ".ngram.lm:NGramLM", ".neural.recurrent:RecurrentLM"
PROJECT = {
    "models/__init__.py": '"""Hold the models."""\n',
    "models/specs.py": f'KINDS = {{"ngram": "{NGRAM}", "lstm": "{LSTM}"}}\n\n\ndef model_class(kind): ...\n',
    "models/ngram/lm.py": '"""Count."""\n\nfrom ..text import normal\n\nORDER = 5  # words\n',
    "models/neural/recurrent.py": "from ..text import normal\n\nHIDDEN = 650\n",
    "models/text/__init__.py": "",
    "models/text/normal.py": "def lower(text):\n    return text.lower()\n",
    "corpus/clean.py": "def clean():\n    from models.text.normal import lower\n\n    return lower\n",
    "corpus/shown.py": "COLOUR = 1\n",
    "tasks/stage.py": "def run_stage(): ...\n",
    "tasks/data/prepare.py": (
        "from typing import TYPE_CHECKING\n\nfrom corpus.clean import clean\nfrom tasks.stage import run_stage\n\n"
        'if TYPE_CHECKING:\n    from corpus.shown import COLOUR\n\nrun_stage(config, "prepare", 5, {}, {}, clean)\n'
    ),
    "tasks/fitting/fit.py": 'WORKER = "tasks.fitting.fit_worker"\nrun_stage(config, "fit", 5, {}, {}, make)\n',
    "tasks/fitting/fit_worker.py": "from models.specs import model_class\n",
    "tasks/evaluation/observe.py": (
        'from models.specs import model_class\n\nSTAGE, VERSION = "observe", 4\n'
        "run_stage(config, STAGE, VERSION, {}, {}, make)\n"
    ),
}  # fmt: skip
Edit = Callable[[str, str, str], SourceCode]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project of three stages, whose present code is accepted."""
    for name, text in PROJECT.items():
        file = tmp_path / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    code_of(tmp_path / "project").accept()
    return tmp_path / "project"


@pytest.fixture
def edit(project: Path) -> Edit:
    """Replace a text in a file of the project, and return its code."""
    def replace(name: str, old: str, new: str) -> SourceCode:
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new, 1))
        return code_of(project)

    return replace


def code_of(project: Path) -> SourceCode:
    return SourceCode(project, project / "accepted_code.txt")


def edited_stages(code: SourceCode) -> set[str]:
    return {stage for stage, maker in code.makers().items() if code.version(5, maker) != 5}


def test_the_code_of_every_stage_is_the_one_that_its_version_stands_for() -> None:
    """If this fails: raise the versions of the stages whose results change, then `reviewlm code --same-result`."""
    code = SourceCode()
    makers = code.makers()
    assert {stage: sorted(found) for stage, maker in makers.items() if (found := code.changed(maker))} == {}
    named = {line.split()[0] for line in ACCEPTED_FILE.read_text().splitlines()}
    assert named == set[str]().union(*map(code.used_by, makers.values()))
    assert {"read", "check", "prepare", "tokens", "fit", "score", "unlearnt"} <= set(makers)
    assert "?" not in makers


def test_the_fit_of_one_kind_uses_no_code_of_another() -> None:
    code = SourceCode()
    ngram, lstm, mixture = (code.used_by(WORKER, KINDS[kind][1]) for kind in ("ngram", "lstm", "mixture"))
    assert "models.ngram.smoothing.kneser_ney" in ngram - lstm
    assert {"models.neural.layers.cells", "models.neural.training.trainer"} <= lstm - ngram
    assert "models.mixture.lm" in mixture - ngram
    assert ngram | lstm | mixture < code.used_by(WORKER), "a model with parts opens models of any kind"
    assert "models.text.normal_form" in code.used_by("tasks.data.prepare")
    assert not {"models.ngram.lm", "models.neural.lm"} & code.used_by("tasks.data.prepare")


def test_stages_are_found_by_their_calls(project: Path) -> None:
    found = code_of(project).makers()
    assert found == {"fit": WORKER, "prepare": "tasks.data.prepare", "observe": "tasks.evaluation.observe"}


@pytest.mark.parametrize(("old", "new"), [
    ("ORDER", "# in words\nORDER"), ("  # words", ""), ("Count", "Count all n-grams"), ("\n\nORDER", "\n\n\nORDER"),
    ('"""Count."""\n', ""),
])  # fmt: skip
def test_comments_docstrings_and_layout_are_no_edit(edit: Edit, old: str, new: str) -> None:
    code = edit("models/ngram/lm.py", old, new)
    assert code.edited == frozenset()
    assert edited_stages(code) == set()


def test_an_edited_function_far_below_changes_the_version_of_all_stages_that_use_it(edit: Edit) -> None:
    code = edit("models/text/normal.py", "lower()", "upper()")
    assert edited_stages(code) == {"prepare", "fit", "observe"}
    assert str(code.version(5, "tasks.data.prepare")).startswith("5+")
    assert code.changed("tasks.data.prepare") == {"models.text.normal"}


def test_an_edited_network_concerns_the_fits_of_its_kind_and_what_opens_models_of_any_kind(edit: Edit) -> None:
    code = edit("models/neural/recurrent.py", "650", "651")
    assert code.version(5, WORKER, LSTM) != 5
    assert code.version(5, WORKER, NGRAM) == 5
    assert edited_stages(code) == {"fit", "observe"}


def test_two_edits_give_two_versions_and_the_first_one_its_own_again(edit: Edit) -> None:
    first = edit("models/ngram/lm.py", "5", "4").version(5, WORKER, NGRAM)
    second = edit("models/ngram/lm.py", "4", "3").version(5, WORKER, NGRAM)
    again = edit("models/ngram/lm.py", "3", "4").version(5, WORKER, NGRAM)
    undone = edit("models/ngram/lm.py", "4", "5").version(5, WORKER, NGRAM)
    assert (again, undone) == (first, 5)
    assert len({first, second, 5}) == 3


def test_a_new_module_counts_through_the_one_that_imports_it(edit: Edit, project: Path) -> None:
    (project / "models/ngram/added.py").write_text("VALUE = 1\n")
    assert code_of(project).version(5, WORKER, NGRAM) == 5, "nobody imports it"
    first = edit("models/ngram/lm.py", "ORDER", "from .added import VALUE\nORDER").version(5, WORKER, NGRAM)
    second = edit("models/ngram/added.py", "1", "2").version(5, WORKER, NGRAM)
    assert len({first, second, 5}) == 3


def test_a_removed_module_is_an_edit(project: Path) -> None:
    (project / "models/ngram/lm.py").unlink()
    assert code_of(project).edited == {"models.ngram.lm"}


def test_an_accepted_edit_has_the_plain_version(edit: Edit, project: Path) -> None:
    code = edit("models/ngram/lm.py", "5", "4")
    code.accept()
    assert code.version(5, WORKER, NGRAM) == code_of(project).version(5, WORKER, NGRAM) == 5


def test_neither_plumbing_nor_what_only_a_type_checker_imports_is_used(edit: Edit) -> None:
    edit("corpus/shown.py", "1", "2")
    assert edited_stages(edit("tasks/stage.py", "()", "(config)")) == set()


def test_code_without_a_table_has_plain_versions(edit: Edit, project: Path) -> None:
    edit("models/text/normal.py", "lower()", "upper()")
    assert SourceCode(project, project / "none.txt").version(5, WORKER) == 5


def test_a_stage_with_edited_code_builds_a_result_of_its_own(
    edit: Edit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = RunConfig(execution={"home": str(tmp_path / "home")})

    def make(work: Path) -> dict[str, int]:
        (work / "file").write_text("result")
        return {}

    monkeypatch.setattr(make, "__module__", "tasks.data.prepare")
    before = run_stage(config, "prepare", 5, {}, {}, make)
    code = edit("corpus/clean.py", "return lower", "return lower or None")
    monkeypatch.setattr("tasks.stage.running_code", lambda: code)
    with caplog.at_level("INFO"):
        after = run_stage(config, "prepare", 5, {}, {}, make)
    assert not after.reused
    assert after.artifact.digest != before.artifact.digest
    assert after.artifact.manifest["version"] == code.version(5, "tasks.data.prepare")
    assert "its code was edited (corpus.clean)" in caplog.text
    assert run_stage(config, "prepare", 5, {}, {}, make).reused
    code.accept()
    assert run_stage(config, "prepare", 5, {}, {}, make).artifact == before.artifact


def test_the_digest_of_a_planned_fit_is_that_of_its_result(edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    code = edit("models/neural/recurrent.py", "650", "651")
    monkeypatch.setattr(fit, "running_code", lambda: code)
    assert fit.fit_version(NGramSpec()) == fit.FIT_VERSION
    assert fit.fit_version(RecurrentSpec(kind="lstm")) != fit.FIT_VERSION
    assert fit.fit_version(MixtureSpec(parts=("kn5", "lstm"))) != fit.FIT_VERSION


def test_stages_in_threads_get_one_version(edit: Edit) -> None:
    """Python 3.11 fails if another thread parses while garbage is collected in the middle of parsing."""
    long = "\n".join(f"def f{n}(a, b):\n    return [a + {n} * b for a in ((b, {n}), (a, [b]))]" for n in range(20))
    code = edit("models/ngram/lm.py", "ORDER = 5", f"{long}\nORDER = 6")

    def let_others_run(phase: str, info: dict[str, int]) -> None:
        time.sleep(1e-5)

    before = gc.get_threshold()
    gc.callbacks.append(let_others_run)
    gc.set_threshold(100)
    try:
        with ThreadPoolExecutor(4) as pool:
            versions = set(pool.map(lambda _: code.version(5, WORKER, NGRAM), range(8)))
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(let_others_run)
    assert len(versions) == 1
    assert versions != {5}
