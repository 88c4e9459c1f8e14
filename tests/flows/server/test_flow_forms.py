"""The parameters of each flow make a form in Prefect: fields have titles and descriptions, wrong values are refused."""

from __future__ import annotations

import re
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

from reviewlm.core.config.presets import load_config, preset_names
from reviewlm.flows.generate import generate
from reviewlm.flows.retrain import retrain
from reviewlm.flows.server.parameters import with_absolute_paths

MODULES = ("drift", "generate", "ingest", "other_models", "retrain", "sweep", "upkeep", "versions")
PARTS = ("config", "plan")
"""First parameter of flows that only other flows call; they get objects, so nobody fills in a form for them."""


def flows_with_a_form() -> dict[str, Flow[Any, Any]]:
    found = {}
    for module in MODULES:
        for one in vars(import_module(f"reviewlm.flows.{module}")).values():
            if isinstance(one, Flow) and next(iter(signature(one.fn).parameters)) not in PARTS:
                found[one.name] = one
    return found


def fields(flow: Flow[Any, Any]) -> dict[str, dict[str, Any]]:
    return parameter_schema(flow).model_dump()["properties"]


def presets_in(field: dict[str, Any]) -> list[str]:
    shipped, file = field["anyOf"]
    assert file["pattern"] == r"\.toml$"
    return list(shipped["enum"])


FLOWS = flows_with_a_form()


@pytest.mark.parametrize("name", FLOWS)
def test_each_field_is_described(name: str) -> None:
    for field in fields(FLOWS[name]).values():
        assert field["title"]
        assert len(field.get("description", "").split()) >= 3, field


WITH_PRESET = pytest.mark.parametrize(
    "name", [name for name, flow in FLOWS.items() if "preset" in fields(flow)]
)


@WITH_PRESET
def test_the_presets_are_a_choice(name: str) -> None:
    assert {*presets_in(fields(FLOWS[name])["preset"])} - {""} == {*preset_names()}


@WITH_PRESET
def test_the_example_of_an_override_can_be_used(name: str) -> None:
    described = fields(FLOWS[name])
    for example in re.findall(r"`(\S+=\S+)`", described["overrides"]["description"]):
        if example != "key=value":
            preset = described["preset"]["default"] or "small"
            assert load_config(preset, [example]) != load_config(preset)


WRONG = [
    (retrain, {"preset": "smal"}, "preset"),
    (retrain, {"preset": 3}, "preset"),
    (retrain, {"overrides": ["no equals sign"]}, "overrides"),
    (retrain, {"input": "one.jsonl"}, "input"),
    (retrain, {"minutes": 0}, "minutes"),
    (generate, {"stars": 6}, "stars"),
    (generate, {"n": 0}, "n"),
    (generate, {"top_p": 1.5}, "top_p"),
    (generate, {"temperature": "hot"}, "temperature"),
    (FLOWS["rescore"], {"versions": "some"}, "versions"),
    (FLOWS["upkeep"], {"dry_run": "perhaps"}, "dry_run"),
]


WRONG_VALUES = pytest.mark.parametrize(
    ("flow", "given", "field"), WRONG, ids=[f"{field}-{flow.name}" for flow, _, field in WRONG]
)


@WRONG_VALUES
def test_a_wrong_value_is_refused_by_the_server_with_the_name_of_its_field(
    flow: Flow[Any, Any],
    given: dict[str, Any],
    field: str,
) -> None:
    """The server checks a new run against the schema of its deployment by `validate`."""
    errors = validate(given, parameter_schema(flow).model_dump())
    assert {error.path[0] for error in errors} == {field}


@WRONG_VALUES
def test_a_wrong_value_is_refused_by_the_flow_with_the_name_of_its_field(
    flow: Flow[Any, Any],
    given: dict[str, Any],
    field: str,
) -> None:
    with pytest.raises(ParameterTypeError, match=f"- {field}"):
        flow.validate_parameters(given)


def test_the_parameters_of_an_event_name_the_same_files_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text('extends = "tiny.toml"\nseed = 7\n')
    (tmp_path / "tiny.toml").write_text('extends = "demo"\n')
    overrides = [
        "seed=9",
        "source.business=b.json",
        'vectors.glove="v.txt"',
        "source.licence=b.json",
        'source.input=["x.json"]',
    ]
    monkeypatch.chdir(tmp_path)
    found = with_absolute_paths("mine.toml", ["data/*.json", "/other/one.csv"], overrides)
    monkeypatch.chdir("/")
    assert found["input"] == [f"{tmp_path}/data/*.json", "/other/one.csv"]
    config = load_config(found["preset"], found["overrides"])
    assert config.seed == 9
    assert config.source.input == (f"{tmp_path}/x.json",)
    assert config.source.business == f"{tmp_path}/b.json"
    assert config.vectors["glove"] == f"{tmp_path}/v.txt"
    assert {"seed=9", "source.licence=b.json"} <= {*found["overrides"]}
    assert with_absolute_paths("demo", None, None) == {
        "preset": "demo",
        "input": None,
        "overrides": None,
    }
    assert with_absolute_paths("", [], [])["preset"] == ""
