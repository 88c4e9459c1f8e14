"""`reviewlm ngram fit --engine dask`, and what the configuration says of Dask where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.config.presets import load_config
from core.errors import ConfigError
from reviewlm.cli import app

TRAIN = Path(__file__).parents[2] / "models" / "ngram" / "data" / "train.txt"


def fit(model: Path, *options: str) -> BaseException | None:
    arguments = ("ngram", "fit", "--text", TRAIN, "--order", "3", "--arpa", model, *options)
    return CliRunner().invoke(app, [*map(str, arguments)]).exception


@pytest.mark.skipif(
    find_spec("prefect_dask") is None, reason="Dask is not installed: pip install -c constraints.txt -e '.[dask]'"
)
@pytest.mark.slow
def test_the_file_is_the_same_and_nothing_else_is_left_beside_it(tmp_path: Path, own_home: Path) -> None:
    assert fit(tmp_path / "threads.arpa") is None
    assert fit(tmp_path / "dask.arpa", "--engine", "dask", "--threads", "2") is None
    assert (tmp_path / "dask.arpa").read_bytes() == (tmp_path / "threads.arpa").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} - {own_home.name} == {"dask.arpa", "threads.arpa"}


def test_another_engine_is_refused_with_those_that_there_are(tmp_path: Path, own_home: Path) -> None:
    error = fit(tmp_path / "m.arpa", "--engine", "spark")
    assert isinstance(error, ConfigError)
    assert "'threads' or 'dask'" in str(error)


def test_without_dask_the_verb_says_what_to_install(tmp_path: Path, own_home: Path, monkeypatch) -> None:
    monkeypatch.setattr("tasks.engines.dask_engine.find_spec", lambda name: None)
    error = fit(tmp_path / "m.arpa", "--dask-address", "tcp://host:8786")
    assert isinstance(error, ConfigError)
    assert "pip install -c constraints.txt -e '.[dask]'" in str(error)


def test_without_dask_a_configuration_that_wants_it_is_refused_before_anything_runs(monkeypatch) -> None:
    monkeypatch.setattr("core.config.sections.execution.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"\.\[dask\]"):
        load_config("demo", ["execution.engine=dask"])
    assert load_config("demo", ["execution.dask_address=tcp://host:1"]).execution.engine == "threads"
