"""The real flow, end to end, on a tiny corpus: everything a user relies on after `reviewlm run`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.environment import other_home
from reviewlm.evaluation.gate.language import LanguageCase
from reviewlm.tasks.records.track import registry_of
from reviewlm.tracking.tags import unpack_tags
from tests.flows.first_run import TINY, Ran, artifacts_of, mlflow_client, run_in
from tests.tracking.run_names import model_of


def test_the_first_run_promotes_its_best_model(ran: Ran) -> None:
    assert ran.result["promoted"] is True
    assert ran.result["champion_version"] == 1
    assert {model["name"] for model in ran.result["models"]} == {"kn2", "lstm", "gru-char", "mix"}


def test_every_model_is_scored_on_the_same_bytes(ran: Ran) -> None:
    assert len({model["test"]["bytes"] for model in ran.result["models"]}) == 1


def test_the_floor_lies_below_every_model(ran: Ran) -> None:
    costs = [model["test"]["open_bits_per_byte"] for model in ran.result["models"]]
    assert ran.result["floor"]["bits_per_byte"] < min(costs)


@pytest.fixture(scope="module")
def again(ran: Ran) -> dict[str, Any]:
    """What a second run in the same home returns."""
    return ran.again()


def test_a_second_run_reuses_every_stage(ran: Ran, again: dict[str, Any]) -> None:
    assert again["stages"] == len(again["reused"])
    assert again["models"] == ran.result["models"]


def test_a_second_run_leaves_the_champion(again: dict[str, Any]) -> None:
    assert again["promoted"] is False
    assert "identical" in again["reason"]
    assert again["champion_version"] == 1


def test_the_decisions_of_both_runs_are_recorded(ran: Ran, again: dict[str, Any]) -> None:
    with other_home(ran.home):
        config = load_config(TINY)
        registry = registry_of(config.workspace, config.promotion.model_name)
        newest, first = registry.decisions()
    assert (newest["decision"], newest["version"]) == ("refused", None)
    assert (newest["state"], newest["run_id"]) == ("carried out", again["mlflow_run_id"])
    assert (first["decision"], first["version"]) == ("promoted", 1)


@pytest.fixture(scope="module")
def parent_run(ran: Ran) -> Any:
    """MLflow's run of the whole pipeline."""
    return mlflow_client(ran).get_run(ran.result["mlflow_run_id"])


@pytest.fixture(scope="module")
def child_runs(ran: Ran, parent_run: Any) -> dict[str, Any]:
    """MLflow's runs of the models, by name."""
    children = mlflow_client(ran).search_runs(
        [parent_run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent_run.info.run_id}'"
    )
    return {model_of(run.info.run_name): run for run in children}


def test_mlflow_has_a_finished_run_of_the_pipeline(parent_run: Any) -> None:
    assert parent_run.info.status == "FINISHED"
    assert parent_run.data.tags["checks"].endswith("checks, no critical expectation failed")
    assert len([name for name in parent_run.data.tags if not name.startswith("mlflow.")]) <= 9


def test_mlflow_s_list_of_runs_names_the_version(ran: Ran, parent_run: Any) -> None:
    [output] = parent_run.outputs.model_outputs
    model = mlflow_client(ran).get_logged_model(output.model_id)
    versions = json.loads(model.tags["mlflow.modelVersions"])
    assert versions == [{"name": "reviewlm-demo", "version": 1}]


def test_the_run_of_the_pipeline_has_one_child_for_each_model(
    parent_run: Any, child_runs: dict[str, Any]
) -> None:
    assert child_runs.keys() == set(parent_run.data.params["models"].split(", "))


def test_all_runs_lead_to_prefect(parent_run: Any, child_runs: dict[str, Any]) -> None:
    for run in (parent_run, *child_runs.values()):
        assert run.data.tags["prefect.flow_run_id"]


def test_the_run_of_a_model_has_its_options(child_runs: dict[str, Any]) -> None:
    for run in child_runs.values():
        sections = {name.split(".")[0] for name in run.data.params}
        assert {"data", "architecture"} <= sections


def test_the_run_of_a_model_has_its_figures(child_runs: dict[str, Any]) -> None:
    wanted = {"test/perplexity", "x_test/tokens", "x_test/oov", "test/open_bits_per_byte"}
    observed = {"reviews", "nll", "ece", "hit_at_1", "hit_at_3", "hit_at_5", "hit_at_5_lo"}
    for name, run in child_runs.items():
        metrics = run.data.metrics.keys()
        assert wanted <= metrics
        assert {f"x_observed/{figure}" for figure in observed} <= metrics
        assert not {f"x_test/{figure}" for figure in observed - {"reviews"}} & metrics
        assert ("test/bits_per_character" in metrics) == (name == "gru-char")


def test_the_run_of_a_model_names_its_three_data_sets(child_runs: dict[str, Any]) -> None:
    for run in child_runs.values():
        assert len({dataset.dataset.name for dataset in run.inputs.dataset_inputs}) == 3


def test_metrics_have_one_point_per_step(ran: Ran) -> None:
    client = mlflow_client(ran)
    lstm = next(model for model in ran.result["models"] if model["name"] == "lstm")
    history = client.get_metric_history(lstm["mlflow_run_id"], "validation/perplexity")
    steps = [point.step for point in history]
    assert len(steps) == 2
    assert len(set(steps)) == 2


def test_the_run_of_the_pipeline_has_its_figures_beside_its_decision(ran: Ran) -> None:
    parent = artifacts_of(mlflow_client(ran), ran.result["mlflow_run_id"])
    assert {"plots/loss_curves.png", "plots/bits_per_byte.png"} <= parent
    assert {"decision.json", "decision.md", "models.json", "config.json", "checks.json"} <= parent
    assert any(path.startswith("data_docs/raw/") and path.endswith("index.html") for path in parent)


def test_each_model_has_a_colour_of_its_own_in_mlflow(child_runs: dict[str, Any]) -> None:
    colours = {run.data.tags["mlflow.runColor"] for run in child_runs.values()}
    assert len(colours) == len(child_runs)


def test_the_run_of_a_model_has_its_samples_beside_its_tokenizer(ran: Ran) -> None:
    child = artifacts_of(mlflow_client(ran), ran.result["models"][1]["mlflow_run_id"])
    assert {
        "samples.json",
        "suggestions.json",
        "tokenizer/vocabulary.json",
        "figures.json",
    } <= child


@pytest.fixture(scope="module")
def champion(ran: Ran) -> Any:
    """MLflow's entry of the champion."""
    return mlflow_client(ran).get_model_version_by_alias("reviewlm-demo", "champion")


def test_the_version_carries_the_outcome_of_the_gate(champion: Any) -> None:
    assert int(champion.version) == 1
    assert champion.tags["gate/outcome"] == "promoted"
    assert champion.tags["gate/reason"]
    assert len(champion.tags) <= 8


def test_the_version_carries_what_each_rule_says(champion: Any) -> None:
    assert "| rule |" in champion.description
    tags = unpack_tags(champion.tags)
    rules = {name for name in tags if name.startswith("gate/rule/")}
    assert len(rules) == len(LanguageCase.RULES)
    assert tags["gate/rule/scored in this run"].startswith("passed: challenger scored in this run")
    assert tags["gate/rule/novelty"].startswith("passed: ")
    assert tags["gate/challenger scored"]


def test_the_version_carries_the_family_of_its_data(champion: Any) -> None:
    tags = unpack_tags(champion.tags)
    assert tags["family"] == champion.tags["family"] == "synthetic"
    assert len(tags["leak_certificate"]) == 64


def test_the_run_ends_with_a_report(ran: Ran) -> None:
    report = Path(ran.result["report"])
    assert report == ran.home / "reports" / ran.result["mlflow_run_id"] / "report.html"
    html = report.read_text(encoding="utf-8")
    assert len(html) < 5_000_000
    assert "Promoted as version 1" in html
    assert all(f">{name} (" in html for name in ("kn2", "lstm", "gru-char", "mix"))


def test_the_newest_report_has_a_name_of_its_own(ran: Ran) -> None:
    assert (ran.home / "reports" / "latest" / "report.html").is_file()


def test_mlflow_has_the_report(ran: Ran) -> None:
    parent = artifacts_of(mlflow_client(ran), ran.result["mlflow_run_id"])
    assert {"report.html", "plots/reliability.png", "plots/novelty.png"} <= parent


@pytest.fixture
def recorded(ran: Ran) -> SimpleNamespace:
    """The record of the champion, its entry in the registry, and a function that verifies its files."""
    from reviewlm.core.lineage import verify
    from reviewlm.tasks.records.gather import recorded_version

    with other_home(ran.home):
        config = load_config(TINY)
        record, entry = recorded_version(config.workspace, config.promotion, "champion")
    return SimpleNamespace(
        record=record,
        entry=entry,
        verify=lambda: verify(record, ran.home / "store", entry.folder),
    )


def test_the_version_s_record_leads_to_the_grammar(recorded: SimpleNamespace) -> None:
    assert recorded.entry.version.version == 1
    stages = {step.stage for step in recorded.record.steps}
    assert {"synthesise", "ingest", "prepare", "tokens", "fit", "score"} <= stages


def test_nothing_in_the_store_differs_from_the_version_s_record(recorded: SimpleNamespace) -> None:
    assert recorded.verify() == []


def test_a_changed_file_of_the_version_is_found(recorded: SimpleNamespace) -> None:
    damaged = recorded.entry.folder / "vocabulary.json"
    before = damaged.read_bytes()
    damaged.write_bytes(before + b" ")
    try:
        assert recorded.verify() != []
    finally:
        damaged.write_bytes(before)


def test_the_version_has_a_model_card(ran: Ran) -> None:
    client = mlflow_client(ran)
    version = client.get_model_version_by_alias("reviewlm-demo", "champion")
    assert "model_card.md" in version.description
    assert "model_card.md" in artifacts_of(client, version.run_id)


def test_quarantined_records_can_be_found_in_their_files(ran: Ran) -> None:
    (folder,) = (ran.home / "store" / "ingest").iterdir()
    quarantine = pl.read_parquet(folder / "quarantine.parquet")
    assert len(quarantine) > 0
    assert {"source", "line", "reason", "raw"} <= set(quarantine.columns)


@pytest.fixture
def shown_in_prefect(ran: Ran) -> SimpleNamespace:
    """The flow run of the pipeline, those of its steps, and their artifacts, as Prefect's server has them."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.sorting import FlowRunSort

    promote = filters.FlowFilter(name=filters.FlowFilterName(any_=["promote"]))
    with get_client(sync_client=True) as client:
        [last] = client.read_flow_runs(
            flow_filter=promote,
            sort=FlowRunSort.START_TIME_ASC,
            limit=1,
        )
        assert last.parent_task_run_id is not None
        whole = client.read_flow_run(client.read_task_run(last.parent_task_run_id).flow_run_id)
        of_whole = filters.FlowRunFilterParentFlowRunId(any_=[whole.id])
        parts = client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(parent_flow_run_id=of_whole)
        )
        runs = filters.ArtifactFilterFlowRunId(any_=[whole.id, *(part.id for part in parts)])
        artifacts = client.read_artifacts(artifact_filter=filters.ArtifactFilter(flow_run_id=runs))
    in_time = sorted(artifacts, key=lambda artifact: artifact.created)
    data = {artifact.key: artifact.data for artifact in in_time}
    return SimpleNamespace(
        whole=whole,
        parts=parts,
        artifacts=artifacts,
        data=data,
    )


def test_prefect_shows_a_named_run_for_each_step(shown_in_prefect: SimpleNamespace) -> None:
    whole, parts = shown_in_prefect.whole, shown_in_prefect.parts
    assert {part.name.partition(":")[0] for part in parts} == {
        "ingest",
        "prepare",
        "fit-models",
        "evaluate",
        "promote",
    }
    assert not [tag for run in (whole, *parts) for tag in run.tags if "process" in tag]


def test_prefect_shows_a_dozen_described_artifacts(shown_in_prefect: SimpleNamespace) -> None:
    assert len(shown_in_prefect.artifacts) <= 12
    assert all(artifact.description for artifact in shown_in_prefect.artifacts)
    keys = {"results", "models", "gate", "samples", "report", "mlflow-run"}
    assert keys <= shown_in_prefect.data.keys()


def test_prefect_shows_the_account_of_the_records(
    shown_in_prefect: SimpleNamespace, ran: Ran
) -> None:
    account = json.loads(str(shown_in_prefect.data["account"]))
    assert account[-1]["what"] == "records used"
    assert account[-1]["number"] == ran.result["account"]["used"]


def test_prefect_shows_the_results_of_each_step(shown_in_prefect: SimpleNamespace) -> None:
    steps = {row["step"] for row in json.loads(str(shown_in_prefect.data["results"]))}
    assert steps >= {"ingest", "prepare", "train", "evaluate", "promote"}


@pytest.mark.slow
def test_a_failed_critical_expectation_stops_the_flow_before_any_training(
    prefect_server: None, tmp_path: Path
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import TaskRunSort

    from reviewlm.core.errors import CheckFailed

    # The server answers with 200, and may have run many flows.
    newest = TaskRunSort.EXPECTED_START_TIME_DESC
    bad = tmp_path / "bad.jsonl"
    fine = {"stars": 9, "date": "2020-01-01"}
    lines = [
        {
            "review_id": f"r{i}",
            "text": f"Fine place number {i}.",
            **fine,
        }
        for i in range(60)
    ]
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
        generate(
            tracking_uri=uri,
            n=2,
            stars=5,
            prompt="The staff",
            max_tokens=8,
        )
        for _ in range(2)
    )
    assert first == again
    assert first["version"] == ran.result["champion_version"]
    assert [text.startswith("The staff") for text in first["texts"]] == [True, True]
    with pytest.raises(ParameterTypeError, match="stars"):
        generate(tracking_uri=uri, stars=9)


@pytest.fixture(scope="module")
def drifts(ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Tests of new reviews against the data of the run: like them, unlike them twice, and twice more in a deployment."""
    from reviewlm.corpus.synthetic.synth import write_reviews
    from reviewlm.flows.drift import drift

    folder = tmp_path_factory.mktemp("drift")
    write_reviews(folder / "same.jsonl", 300, seed=77)
    lines = [json.loads(line) for line in (folder / "same.jsonl").read_text().splitlines()]
    planted = {"stars": 1.0, "text": "Masks! " * 9}
    other = [
        {
            **row,
            **planted,
            "review_id": f"x{row['review_id']}",
        }
        for row in lines
    ]
    (folder / "other.jsonl").write_text("\n".join(map(json.dumps, other)))

    events: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "reviewlm.tasks.execution.stage.emit_event",
            lambda event, **about: events.append({"event": event, **about}),
        )
        patch.setenv("REVIEWLM_HOME", str(ran.home))
        same = drift(TINY, [str(folder / "same.jsonl")])
        patch.chdir(folder)
        found = [drift(TINY, ["other.jsonl"]) for _ in range(2)]
        patch.setattr("reviewlm.flows.drift.deployment", SimpleNamespace(id="drift"))
        deployed = [drift(TINY, ["other.jsonl"]) for _ in range(2)]
        yield SimpleNamespace(
            same=same,
            found=found,
            deployed=deployed,
            events=events,
            input=[str(folder / "other.jsonl")],
        )


@pytest.mark.slow
def test_new_reviews_like_those_of_the_run_are_no_drift(drifts: SimpleNamespace) -> None:
    same = drifts.same
    assert (same["compared"], same["new"], same["drifted"]) == (True, 300, [])


@pytest.mark.slow
def test_new_reviews_that_differ_are_drift(drifts: SimpleNamespace) -> None:
    first, second = drifts.found
    assert {"stars", "words"} <= set(first["drifted"])
    assert first == second
    assert drifts.deployed == drifts.found


@pytest.mark.slow
def test_drift_in_a_deployment_is_an_event_once(drifts: SimpleNamespace) -> None:
    told = [event["event"] for event in drifts.events]
    assert told == ["reviewlm.drift.seen", "reviewlm.drift.flagged"], "asked, found"


@pytest.mark.slow
def test_the_event_of_drift_names_its_reviews(drifts: SimpleNamespace) -> None:
    """A worker has another working folder, so the paths are absolute."""
    payload = drifts.events[1]["payload"]
    asked = {
        "preset": TINY,
        "input": drifts.input,
        "overrides": None,
    }
    expected = {**asked, "drifted": drifts.found[0]["drifted"]}
    assert {name: payload[name] for name in expected} == expected


@pytest.mark.slow
def test_the_retrain_after_drift_uses_the_settings_of_the_champion(drifts: SimpleNamespace) -> None:
    """Where the flow of drift was given none."""
    from reviewlm.flows.retrain import resolve

    chosen = resolve("", drifts.input, ["drift.reviews=100"])
    assert (list(chosen.source.input), chosen.drift.reviews) == (drifts.input, 100)
    assert chosen.models == load_config(TINY).models


@pytest.mark.slow
@pytest.mark.usefixtures("drifts")
def test_drift_is_in_mlflow(ran: Ran) -> None:
    client = mlflow_client(ran)
    newest, *_ = client.search_runs(["1"], "tags.`reviewlm.flow` = 'drift'")
    assert newest.data.metrics["drift/stars"] > 0.1
    files = {file.path for file in client.list_artifacts(newest.info.run_id, "drift")}
    assert "drift/drift.html" in files


@pytest.mark.long
def test_the_champion_is_scored_again_month_by_month(
    ran: Ran,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
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
def test_a_comparison_takes_its_settings_from_the_version_instead_of_a_default_preset(
    ran: Ran,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from reviewlm.flows.versions import compare

    monkeypatch.setenv("REVIEWLM_HOME", str(ran.home))
    monkeypatch.chdir(tmp_path)
    made = sorted((ran.home / "store" / "synthesise").iterdir())
    told = compare(first="champion", second="lstm")
    test = next(model["test"] for model in ran.result["models"] if model["name"] == "lstm")
    figure = next(row for row in told["figures"] if row["figure"] == "open bits per byte")
    assert told["reviews"] == test["reviews"]
    assert figure["B"] == pytest.approx(test["open_bits_per_byte"], rel=1e-9)
    assert not told["notes"], "both were made from these very data"
    written = sorted((ran.home / "store" / "synthesise").iterdir())
    assert written == made, "no other reviews were written"


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
