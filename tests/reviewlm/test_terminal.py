"""What a person sees on a terminal, in a file and in a pipe: nothing is cut, and no word is broken."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reviewlm import shown_results, terminal
from reviewlm.core.errors import InputError, Unreadable
from reviewlm.core.services.join import MLFLOW_VARIABLE
from reviewlm.corpus.account import Account, Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.flow_runs import show_stages
from reviewlm.tasks.execution.stage import RunRecord, StageRun


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that gives standard output a terminal of so many columns."""

    def of(number: int) -> None:
        monkeypatch.setenv("COLUMNS", str(number))
        monkeypatch.setenv("TERM", "dumb")  # no colours
        monkeypatch.setattr(terminal, "_columns_of", lambda stream: number)
        monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)

    return of


def test_a_command_is_never_broken_because_users_copy_it(
    columns: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    columns(60)
    shown_results.show_run(
        result(
            promoted=True,
            champion_version=1,
            registered_model="reviewlm-demo",
        )
    )
    shown = capsys.readouterr().out
    assert "★★★★☆\n  Great tacos.\n" in shown
    assert "“The food was …”  →  so 25.0%  (all else 75.0%)\n" in shown
    assert "  reviewlm generate --model reviewlm-demo --stars 2\n" in shown
    assert "      write a review with it\n" in shown


def result(**changes: Any) -> dict[str, Any]:
    """The result of a run whose challenger was refused."""
    next_words = {"prompt": "The food was", "words": [{"word": "so", "probability": 0.25}]}
    written = {"reviews": [{"stars": 4, "text": "Great tacos."}], "next_words": next_words}
    return {
        "models": [],
        "promoted": False,
        "challenger": "kn5",
        "reason": "too slow",
        "champion_version": None,
        "version": 1,
        "registered_model": "reviewlm",
        "mlflow_run_id": "r",
        "written": written,
        **changes,
    }


def test_the_verdict_of_a_plan_comes_before_the_models(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown_results.show_run(result(plan={"verdict": ["Plan not kept.", "Nothing was trained."]}))
    assert capsys.readouterr().out.startswith("Plan not kept.\nNothing was trained.\n")


@pytest.fixture
def table_of_models(columns: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that shows a table of two models with such vocabularies on 80 columns."""

    def show(*units: str) -> str:
        columns(80)
        test = {
            "perplexity": 294.5,
            "word_perplexity": 1075.1,
            "open_bits_per_byte": 1.874,
            "open_bits_per_byte_lo": 1.864,
            "open_bits_per_byte_hi": 1.884,
            "gap": 1.614,
            "gap_lo": 1.604,
            "gap_hi": 1.624,
            "baseline_gain": -2.183,
            "hit@1": 0.0924,
            "oov": 516,
        }
        names = zip(("kn5+lstm", "unigram"), units, strict=True)
        models = [
            {
                "name": name,
                "unit": unit,
                "test": test,
            }
            for name, unit in names
        ]
        floor = {"bits_per_byte": 0.26, "statement": "No model can need less."}
        shown_results.show_models(
            {
                "models": models,
                "baseline": "kn5",
                "floor": floor,
            }
        )
        return capsys.readouterr().out

    return show


UNITS = pytest.mark.parametrize("units", [("word", "word"), ("word", "character")], ids="-".join)


@UNITS
def test_the_table_of_models_fits_eighty_columns(
    units: tuple[str, str], table_of_models: Any
) -> None:
    shown = table_of_models(*units)
    assert max(map(len, shown.splitlines())) <= 80
    for whole in ("kn5+lstm", "unigram", "1.874 ±0.010", "-218.3%", "9.2%"):
        assert whole in shown


@UNITS
def test_the_table_of_models_says_what_each_column_means(
    units: tuple[str, str], table_of_models: Any
) -> None:
    shown = table_of_models(*units)
    for column in ("perplexity", "bits/byte", "gain over kn5", "first guess"):
        assert f"\n  {column}: " in shown


@UNITS
def test_the_table_of_models_names_units_that_differ(
    units: tuple[str, str], table_of_models: Any
) -> None:
    assert ("character" in table_of_models(*units)) == (len(set(units)) > 1)


@pytest.mark.parametrize(("same", "proposed"), [(True, False), (False, True)])
def test_only_another_model_is_proposed_for_a_promotion_by_hand(
    same: bool,
    proposed: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown_results.show_run(
        result(
            version=2,
            champion_version=1,
            same_model=same,
        )
    )
    assert ("--force" in capsys.readouterr().out) is proposed


@pytest.mark.parametrize(("name", "proposed"), [("reviewlm", True), ("another", False)])
def test_a_refused_version_of_ones_own_is_proposed_for_a_comparison_with_the_champion(
    name: str,
    proposed: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown_results.show_run(
        result(
            registered_model=name,
            version=2,
            champion_version=1,
        )
    )
    assert ("compare 2 champion" in capsys.readouterr().out) is proposed


@pytest.mark.parametrize("runs", [False, True])
def test_who_has_the_services_running_is_not_told_to_start_them(
    runs: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = "http://127.0.0.1:5000/#/experiments/1"
    monkeypatch.delenv(MLFLOW_VARIABLE, raising=False)
    if runs:
        monkeypatch.setenv(MLFLOW_VARIABLE, "http://127.0.0.1:5000")
    shown_results.show_run(result(champion_version=1, mlflow_page=page))
    said = capsys.readouterr().out
    assert page in said
    assert ("services start" in said) != runs


def test_a_run_until_prepare_ends_with_an_account_of_its_data(
    capsys: pytest.CaptureFixture[str],
) -> None:
    split = {
        "reviews": 30,
        "words": 1200,
        "bytes": 6000,
    }
    entries = (
        Entry(
            "read",
            Outcome.SET_ASIDE,
            Kind.ENCODING,
            2,
            "a.csv",
        ),
        Entry(
            "ingest",
            Outcome.COPY,
            Kind.SAME_RECORD,
            3,
            "a.csv",
        ),
    )
    shown_results.show_account(Account({"a.csv": 100}, entries).to_dict(), " --input a.csv")
    shown_results.show_prepared(
        {
            "splits": dict.fromkeys(("train", "validation", "test"), split),
            "card": "card.html",
            "vocabularies": {"word": {"size": 41, "train_tokens": 1300}},
        },
    )
    shown = capsys.readouterr().out
    for fact in (
        "100 records read = 95 used",
        "encoding 2",
        "show --input a.csv`",
        "train 30",
        "41 entries",
        "card.html",
    ):
        assert fact in shown


def test_a_table_without_rows_says_what_there_is_none_of(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal.show_rows([], "Open bits per byte by month")
    assert capsys.readouterr().out == "Open bits per byte by month: none\n"


def test_a_table_without_rows_that_nobody_asked_for_is_not_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    terminal.show_rows([])
    assert capsys.readouterr().out == ""


def recorded(*runs: tuple[str, str, str, bool, float], steps: Mapping[str, float]) -> RunRecord:
    return RunRecord([StageRun(*one) for one in runs], dict(steps))


def test_a_run_that_built_nothing_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    stages = [("read", "a", "ingest", True, 0.0), ("fit", "lstm", "train", True, 0.0)]
    show_stages(recorded(*stages, steps={"ingest": 1.0, "train": 2.0}), 24.2)
    assert capsys.readouterr().out == "2 of 2 steps re-used, 24 s\n"


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_bytes_that_are_not_utf8_are_refused_from_standard_input_too(
    errors: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python hides such bytes as half characters where the locale is POSIX."""
    file = tmp_path / "latin1.txt"
    file.write_bytes(b"fine\nlatin1 caf\xe9\n")
    for name in (str(file), "-"):
        monkeypatch.setattr(
            "sys.stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes()), "utf-8", errors)
        )
        with pytest.raises(Unreadable) as caught:
            terminal.read_lines(name)
        assert caught.value.where == f"{name}, line 2"


@pytest.mark.parametrize("text", ["The soup was cold.", "The soup was cold. " * 400])
def test_a_text_in_the_place_of_a_file_is_told_how_it_is_given(text: str) -> None:
    with pytest.raises(Unreadable, match="no such file") as caught:
        terminal.read_lines(text)
    assert "echo" in caught.value.remedy


def test_a_text_of_windows_is_read_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "windows.txt").write_bytes("\ufeffcafé\r\n\r\ntwo\u2028lines\rlast".encode())
    assert terminal.read_lines(str(tmp_path / "windows.txt")) == [
        (1, "café"),
        (3, "two\u2028lines"),
        (4, "last"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        '{"text": "The soup was cold.", "stars": 2}\n{"text": "Fine.", "stars": 4}\n',
        "review_id,stars,text\n1,2,The soup was cold.\n",
        "stars\ttext\n2\tThe soup was cold.\n",
    ],
)
def test_records_are_not_taken_for_texts(content: str, tmp_path: Path) -> None:
    (tmp_path / "records").write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        terminal.read_lines(str(tmp_path / "records"))
    assert caught.value.remedy


@pytest.mark.parametrize("content", ["{}\n", "[sic] nice\n", "12\n", "The text, the stars\n"])
def test_a_text_that_looks_a_little_like_a_record_is_read(content: str, tmp_path: Path) -> None:
    (tmp_path / "texts").write_text(content, encoding="utf-8")
    assert len(terminal.read_lines(str(tmp_path / "texts"))) == 1


@pytest.mark.parametrize("name", ["", "."])
def test_what_is_no_file_is_told_with_a_remedy(name: str) -> None:
    with pytest.raises(Unreadable) as caught:
        terminal.read_lines(name)
    assert "one text per line" in caught.value.remedy
