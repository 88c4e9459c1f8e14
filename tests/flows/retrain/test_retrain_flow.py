"""The real flow, end to end, on a tiny corpus: everything a user relies on after `reviewlm run`."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.environment import other_home
from reviewlm.evaluation.gate.language import LanguageCase
from reviewlm.tasks.records.track import registry_of
from reviewlm.tracking.tags import model_of, unpack_tags
from tests.flows.first_run import TINY, Ran, artifacts_of, mlflow_client, run_in


def test_the_first_run_promotes_its_best_model(ran: Ran) -> None:
    assert ran.result["promoted"] is True
    assert ran.result["champion_version"] == 1
    assert {model["name"] for model in ran.result["models"]} == {"kn2", "lstm", "gru-char", "mix"}


def test_every_model_is_scored_on_the_same_bytes_and_the_floor_lies_below_all(ran: Ran) -> None:
    tests = [model["test"] for model in ran.result["models"]]
    assert len({figures["bytes"] for figures in tests}) == 1
    assert ran.result["floor"]["bits_per_byte"] < min(
        figures["open_bits_per_byte"] for figures in tests
    )


def test_a_second_run_reuses_every_stage_and_says_so(ran: Ran) -> None:
    again = ran.again()
    assert again["stages"] == len(again["reused"])
    assert again["promoted"] is False
    assert "identical" in again["reason"]
    assert again["champion_version"] == 1
    assert again["models"] == ran.result["models"]
    with other_home(ran.home):
        config = load_config(TINY)
        registry = registry_of(config.workspace, config.promotion.model_name)
        newest, first = registry.decisions()
    assert (newest["decision"], newest["version"], newest["state"]) == (
        "refused",
        None,
        "carried out",
    )
    assert newest["run_id"] == again["mlflow_run_id"]
    assert (first["decision"], first["version"]) == ("promoted", 1)


def test_mlflow_has_a_parent_with_one_child_per_model_and_links_to_prefect(ran: Ran) -> None:
    client = mlflow_client(ran)
    parent = client.get_run(ran.result["mlflow_run_id"])
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["prefect.flow_run_id"]
    assert parent.data.tags["checks"].endswith("checks, no critical expectation failed")
    assert len([name for name in parent.data.tags if not name.startswith("mlflow.")]) <= 9
    [output] = parent.outputs.model_outputs
    versions = json.loads(client.get_logged_model(output.model_id).tags["mlflow.modelVersions"])
    assert versions == [{"name": "reviewlm-demo", "version": 1}], (
        "the list of runs names the version"
    )
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    )
    names_of = {model_of(run.info.run_name) for run in children}
    assert names_of == set(parent.data.params["models"].split(", "))
    for run in children:
        sections = {name.split(".")[0] for name in run.data.params}
        assert {"data", "architecture", "objective", "optimiser"} - sections <= {
            "objective",
            "optimiser",
        }
        wanted = {"test/perplexity", "x_test/tokens", "x_test/oov", "test/open_bits_per_byte"}
        assert wanted <= run.data.metrics.keys()
        observed = {"reviews", "nll", "ece", "hit_at_1", "hit_at_3", "hit_at_5", "hit_at_5_lo"}
        assert {f"x_observed/{name}" for name in observed} <= run.data.metrics.keys()
        assert not {f"x_test/{name}" for name in observed - {"reviews"}} & run.data.metrics.keys()
        by_character = model_of(run.info.run_name) == "gru-char"
        assert ("test/bits_per_character" in run.data.metrics) == by_character
        assert run.data.tags["prefect.flow_run_id"]
        names = {dataset.dataset.name for dataset in run.inputs.dataset_inputs}
        assert len(names) == 3


def test_metrics_have_one_point_per_step(ran: Ran) -> None:
    client = mlflow_client(ran)
    lstm = next(model for model in ran.result["models"] if model["name"] == "lstm")
    history = client.get_metric_history(lstm["mlflow_run_id"], "validation/perplexity")
    steps = [point.step for point in history]
    assert len(steps) == 2
    assert len(set(steps)) == 2


def test_figures_data_docs_samples_tokenizer_and_decision_are_in_mlflow(ran: Ran) -> None:
    client = mlflow_client(ran)
    parent = artifacts_of(client, ran.result["mlflow_run_id"])
    assert {"plots/loss_curves.png", "plots/bits_per_byte.png"} <= parent
    assert {"decision.json", "decision.md", "models.json", "config.json", "checks.json"} <= parent
    assert any(path.startswith("data_docs/raw/") and path.endswith("index.html") for path in parent)
    runs = [client.get_run(model["mlflow_run_id"]) for model in ran.result["models"]]
    assert len({run.data.tags["mlflow.runColor"] for run in runs}) == len(runs), (
        "each has a colour of its own"
    )
    child = artifacts_of(client, ran.result["models"][1]["mlflow_run_id"])
    assert {
        "samples.json",
        "suggestions.json",
        "tokenizer/vocabulary.json",
        "figures.json",
    } <= child


def test_the_version_carries_outcome_and_reasons(ran: Ran) -> None:
    client = mlflow_client(ran)
    version = client.get_model_version_by_alias("reviewlm-demo", "champion")
    assert int(version.version) == 1
    assert version.tags["gate/outcome"] == "promoted"
    assert version.tags["gate/reason"]
    assert "| rule |" in version.description
    tags = unpack_tags(version.tags)
    rules = {name for name in tags if name.startswith("gate/rule/")}
    assert len(rules) == len(LanguageCase.RULES)
    assert tags["gate/rule/scored in this run"].startswith("passed: challenger scored in this run")
    assert tags["gate/rule/novelty"].startswith("passed: ")
    assert tags["gate/challenger scored"]
    assert tags["family"] == version.tags["family"] == "synthetic"
    assert len(tags["leak_certificate"]) == 64
    assert len(version.tags) <= 8


def test_the_run_ends_with_a_report_which_latest_points_to_and_mlflow_has(ran: Ran) -> None:
    report = Path(ran.result["report"])
    first = ran.home / "reports" / ran.result["mlflow_run_id"] / "report.html"
    assert report == first
    assert (ran.home / "reports" / "latest" / "report.html").is_file()
    html = report.read_text(encoding="utf-8")
    assert len(html) < 5_000_000
    assert "Promoted as version 1" in html
    assert all(f">{name} (" in html for name in ("kn2", "lstm", "gru-char", "mix"))
    parent = artifacts_of(mlflow_client(ran), ran.result["mlflow_run_id"])
    assert {"report.html", "plots/reliability.png", "plots/novelty.png"} <= parent


def test_the_version_s_record_leads_to_the_grammar_and_nothing_in_the_store_differs_from_it(
    ran: Ran,
) -> None:
    from reviewlm.core.lineage import verify
    from reviewlm.tasks.records.gather import recorded_version

    with other_home(ran.home):
        config = load_config(TINY)
        record, entry = recorded_version(config.workspace, config.promotion, "champion")
        bundle = entry.folder
        assert entry.version.version == 1
        assert {"synthesise", "ingest", "prepare", "tokens", "fit", "score"} <= {
            step.stage for step in record.steps
        }
        assert verify(record, ran.home / "store", bundle) == []
        damaged = bundle / "vocabulary.json"
        before = damaged.read_bytes()
        damaged.write_bytes(before + b" ")
        assert verify(record, ran.home / "store", bundle) != []
        damaged.write_bytes(before)


def test_the_version_has_a_model_card(ran: Ran) -> None:
    client = mlflow_client(ran)
    version = client.get_model_version_by_alias("reviewlm-demo", "champion")
    assert "model_card.md" in version.description
    assert "model_card.md" in artifacts_of(client, version.run_id)


def test_quarantined_records_keep_their_raw_bytes_source_and_line(ran: Ran) -> None:
    (folder,) = (ran.home / "store" / "ingest").iterdir()
    quarantine = pl.read_parquet(folder / "quarantine.parquet")
    assert len(quarantine) > 0
    assert {"source", "line", "reason", "raw"} <= set(quarantine.columns)


def test_prefect_shows_a_dozen_described_artifacts_and_a_named_run_for_each_step(ran: Ran) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.sorting import FlowRunSort

    promote = filters.FlowFilter(name=filters.FlowFilterName(any_=["promote"]))
    with get_client(sync_client=True) as client:
        [last] = client.read_flow_runs(
            flow_filter=promote, sort=FlowRunSort.START_TIME_ASC, limit=1
        )
        assert last.parent_task_run_id is not None
        whole = client.read_flow_run(client.read_task_run(last.parent_task_run_id).flow_run_id)
        of_whole = filters.FlowRunFilterParentFlowRunId(any_=[whole.id])
        parts = client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(parent_flow_run_id=of_whole)
        )
        runs = filters.ArtifactFilterFlowRunId(any_=[whole.id, *(part.id for part in parts)])
        artifacts = client.read_artifacts(artifact_filter=filters.ArtifactFilter(flow_run_id=runs))
    assert {part.name.partition(":")[0] for part in parts} == {
        "ingest",
        "prepare",
        "fit-models",
        "evaluate",
        "promote",
    }
    assert not [tag for run in (whole, *parts) for tag in run.tags if "process" in tag]
    assert len(artifacts) <= 12
    assert all(artifact.description for artifact in artifacts)
    in_time = sorted(artifacts, key=lambda artifact: artifact.created)
    shown = {artifact.key: artifact.data for artifact in in_time}
    assert {"results", "models", "gate", "samples", "report", "mlflow-run"} <= shown.keys()
    account = json.loads(str(shown["account"]))
    assert account[-1]["what"] == "records used"
    assert account[-1]["number"] == ran.result["account"]["used"]
    steps = {row["step"] for row in json.loads(str(shown["results"]))}
    assert steps >= {"ingest", "prepare", "train", "evaluate", "promote"}


@pytest.mark.slow
def test_a_failed_critical_expectation_stops_the_flow_before_any_training(
    prefect_server: None, tmp_path: Path
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import TaskRunSort

    from reviewlm.core.errors import CheckFailed

    newest = (
        TaskRunSort.EXPECTED_START_TIME_DESC
    )  # the server answers with 200, and may have run many flows
    bad = tmp_path / "bad.jsonl"
    fine = {"stars": 9, "date": "2020-01-01"}
    lines = [{"review_id": f"r{i}", "text": f"Fine place number {i}.", **fine} for i in range(60)]
    bad.write_text("\n".join(json.dumps(line) for line in lines))
    with get_client(sync_client=True) as client:
        before = {run.id for run in client.read_task_runs(sort=newest)}
    with pytest.raises(CheckFailed) as error:
        run_in(tmp_path / "home", input=[str(bad)])
    assert "stars" in str(error.value)
    assert Path(error.value.report).is_file()
    with get_client(sync_client=True) as client:
        names = {run.name for run in client.read_task_runs(sort=newest) if run.id not in before}
    assert names
    assert not any("fit" in name or "vocabulary" in name for name in names)


def test_prediction_is_a_flow_of_its_own_that_needs_only_the_registry(ran: Ran) -> None:
    from prefect.exceptions import ParameterTypeError

    from reviewlm.flows.generate import generate

    uri = f"sqlite:///{ran.home / 'mlflow.db'}"
    first, again = (
        generate(tracking_uri=uri, n=2, stars=5, prompt="The staff", max_tokens=8) for _ in range(2)
    )
    assert first == again
    assert first["version"] == ran.result["champion_version"]
    assert [text.startswith("The staff") for text in first["texts"]] == [True, True]
    with pytest.raises(ParameterTypeError, match="stars"):
        generate(tracking_uri=uri, stars=9)


@pytest.mark.slow
def test_new_reviews_that_differ_are_drift_once_and_an_event_and_in_mlflow(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reviewlm.core.config.presets import load_config
    from reviewlm.corpus.synthetic.synth import write_reviews
    from reviewlm.flows.drift import drift
    from reviewlm.flows.retrain import resolve

    events: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "reviewlm.tasks.execution.stage.emit_event",
        lambda event, **about: events.append({"event": event, **about}),
    )
    monkeypatch.setenv("REVIEWLM_HOME", str(ran.home))
    write_reviews(tmp_path / "same.jsonl", 300, seed=77)
    lines = [json.loads(line) for line in (tmp_path / "same.jsonl").read_text().splitlines()]
    planted = {"stars": 1.0, "text": "Masks! " * 9}
    other = [{**row, **planted, "review_id": f"x{row['review_id']}"} for row in lines]
    (tmp_path / "other.jsonl").write_text("\n".join(map(json.dumps, other)))

    same = drift(TINY, [str(tmp_path / "same.jsonl")])
    assert (same["compared"], same["new"], same["drifted"]) == (True, 300, [])
    monkeypatch.chdir(tmp_path)
    found = [drift(TINY, ["other.jsonl"]) for _ in range(2)]
    assert {"stars", "words"} <= set(found[0]["drifted"])
    assert found[0] == found[1]
    monkeypatch.setattr("reviewlm.flows.drift.deployment", SimpleNamespace(id="drift"))
    assert [drift(TINY, ["other.jsonl"]) for _ in range(2)] == found
    # A worker has another working folder, so the paths are absolute.
    asked = {"preset": TINY, "input": [str(tmp_path / "other.jsonl")], "overrides": None}
    assert [event["event"] for event in events] == [
        "reviewlm.drift.seen",
        "reviewlm.drift.flagged",
    ], "asked, found"
    told = events[1]["payload"]
    assert {name: told[name] for name in (*asked, "drifted")} == {
        **asked,
        "drifted": found[0]["drifted"],
    }
    # The retrain that the event starts uses the champion's settings where the flow was given none.
    chosen = resolve("", asked["input"], ["drift.reviews=100"])
    assert (list(chosen.source.input), chosen.drift.reviews) == (asked["input"], 100)
    assert chosen.models == load_config(TINY).models
    runs = mlflow_client(ran).search_runs(["1"], "tags.`reviewlm.flow` = 'drift'")
    assert runs[0].data.metrics["drift/stars"] > 0.1
    assert "drift/drift.html" in {
        file.path for file in mlflow_client(ran).list_artifacts(runs[0].info.run_id, "drift")
    }


@pytest.mark.long
def test_the_champion_is_scored_again_month_by_month(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reviewlm.corpus.synthetic.synth import write_reviews
    from reviewlm.flows.drift import rescore

    monkeypatch.setenv("REVIEWLM_HOME", str(ran.home))
    write_reviews(tmp_path / "new.jsonl", 300, seed=78)
    monkeypatch.setattr("reviewlm.tasks.evaluation.rescore.MIN_REVIEWS", 2)
    told = rescore(TINY, [str(tmp_path / "new.jsonl")])
    client = mlflow_client(ran)
    assert told["version"] == int(
        client.get_model_version_by_alias("reviewlm-demo", "champion").version
    )
    assert sum(row["reviews"] for row in told["months"] if row["part"] == "new") == 300
    assert any(row["part"] == "held out" for row in told["months"])
    kept = artifacts_of(client, told["mlflow_run_id"])
    assert {"plots/decay.png", "decay.json"} <= kept
    points = client.get_metric_history(
        told["mlflow_run_id"], f"decay/v{told['version']}/open_bits_per_byte"
    )
    assert {201501 <= point.step <= 202301 for point in points} == {True}


@pytest.mark.slow
def test_a_comparison_takes_data_and_settings_from_the_version_and_not_from_a_default_preset(
    ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reviewlm.flows.versions import compare

    monkeypatch.setenv("REVIEWLM_HOME", str(ran.home))
    monkeypatch.chdir(tmp_path)
    made = sorted((ran.home / "store" / "synthesise").iterdir())
    told = compare(first="champion", second="lstm")
    test = next(model["test"] for model in ran.result["models"] if model["name"] == "lstm")
    figure = next(row for row in told["figures"] if row["figure"] == "open bits per byte")
    assert (told["reviews"], figure["B"]) == (
        test["reviews"],
        pytest.approx(test["open_bits_per_byte"], rel=1e-9),
    )
    assert not told["notes"], "both were made from these very data"
    assert sorted((ran.home / "store" / "synthesise").iterdir()) == made, (
        "no other reviews were written"
    )


def test_reviews_that_the_champion_knows_are_no_drift(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reviewlm.flows.drift import drift
    from reviewlm.tasks.execution.stage import recorded_stages

    monkeypatch.setenv("REVIEWLM_HOME", str(ran.home))
    [known] = (ran.home / "store" / "synthesise").glob("*/reviews.jsonl")
    with recorded_stages() as record:
        found = drift(TINY, [str(known)])
    assert found["compared"] is False
    assert found["sentence"] == "nothing was compared: no review is new since the champion"
    assert list(record.steps) == ["ingest", "drift"], "the time of the comparison has a name"


@pytest.mark.long
def test_a_logged_mixture_answers_a_stranger(ran: Ran) -> None:
    from reviewlm.tasks.records.track import tracker_of
    from reviewlm.tracking.logged_models.export import smoke_test

    run_id = next(
        model["mlflow_run_id"] for model in ran.result["models"] if model["name"] == "mix"
    )
    with other_home(ran.home):
        tracker = tracker_of(load_config(TINY).workspace)
        smoke = smoke_test(tracker, tracker.tag(run_id, "reviewlm.model_uri"))
    assert smoke.passed, smoke.detail
    assert not list((ran.home / "mlartifacts").rglob("*.pyc")), "Python would prefer it"
