"""Define the flows `classify` (fit, compare, register, gate), `embed` (word vectors) and `punctuate` (tagger)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefect import flow

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.extras import require_gensim
from reviewlm.flows.parts import fit_models, ingest, prepare, recorded_or_read
from reviewlm.flows.retrain import resolve
from reviewlm.flows.server.parameters import (
    Given,
    Inputs,
    Overrides,
    Preset,
    PresetOrNone,
    Reference,
    on_workers,
)
from reviewlm.tasks.classification.compare import (
    Compared,
    compare_classifiers,
    compare_two_classifiers,
    summarise_classifiers,
)
from reviewlm.tasks.classification.family import Classifiers, choose
from reviewlm.tasks.classification.field_labels import label_names, labels_of
from reviewlm.tasks.classification.label_account import account_for_labels
from reviewlm.tasks.classification.labelling import require_classifiers, require_labelled_reviews
from reviewlm.tasks.classification.predict import predict
from reviewlm.tasks.classification.report import write_classifier_report
from reviewlm.tasks.data.account import account_of
from reviewlm.tasks.data.prepare import Prepared, check_table, clean_and_split
from reviewlm.tasks.embed import embed as fit_vectors
from reviewlm.tasks.embed import require_vocabulary
from reviewlm.tasks.execution.cluster import require_cluster
from reviewlm.tasks.execution.stage import conclude, describe_flow_run, step
from reviewlm.tasks.fitting.job import Fitted
from reviewlm.tasks.promotion.promote import promote_challenger
from reviewlm.tasks.records.result_lines import account_lines
from reviewlm.tasks.records.run_summary import verdict_of
from reviewlm.tasks.records.track import (
    CLASSIFIER,
    RUNNING,
    log_inputs,
    parent_run,
    settings_of,
    tracker_of,
)


@flow(name="classify", persist_result=False)
def classify(
    preset: Preset = "classify",
    input: Inputs = None,
    overrides: Overrides = None,
) -> dict[str, Any]:
    """Fit the classifiers of a preset, compare them on held-out reviews, register the best, and run the gate.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file, with a section `classification`.
        input: Files, folders or globs of reviews. Empty: the demo's synthetic reviews, or the champion's files in a run
            without a preset and in a deployment's run of your own data.
        overrides: Settings as `key=value`, e.g. `classification.label=polarity`.
    """
    config = resolve(preset, input, overrides)
    require_classifiers(config.classification, config.preset)
    require_cluster(config.execution)
    with parent_run(config, "classify", outcome=RUNNING) as run_id:
        dataset = ingest(config)
        labels = labels_of(config.workspace, config.source, config.classification, dataset)
        used = {spec.vocabulary for spec in config.classification.models}
        prepared = prepare(config, dataset, [name for name in config.vocabulary if name in used])
        prepared = replace(
            prepared,
            labels=labels,
            label_names=label_names(config.classification, labels, prepared.clean),
        )
        require_labelled_reviews(config.classification, config.seed, prepared)
        entries = account_for_labels(config.classification, prepared)
        log_inputs(config.workspace, prepared, run_id)
        count = len(config.classification.models)
        workers = config.execution.workers
        with step("train", f"fit {count} classifiers, at most {workers} at a time"):
            fitted = on_workers(fit_models, workers)(config, prepared, run_id, classifiers=True)
        with step(
            "evaluate", f"let {count} classifiers answer the held-out reviews, then compare them"
        ):
            compared = on_workers(predict_all, workers)(config, prepared, fitted, run_id)
        with step("promote", "register the best classifier on validation and run the gate"):
            named = config.asking(config.classification.model_name)
            promotion = promote_challenger(
                Classifiers(named, prepared, compared, choose(compared)), run_id
            )
        with step("report", "draw the figures and write the page"):
            account = account_of(dataset, prepared.clean).plus(entries)
            report = write_classifier_report(
                config,
                prepared,
                compared,
                promotion,
                run_id,
                account,
            )
        result = summarise_classifiers(
            config.workspace,
            config.classification,
            prepared,
            compared,
            promotion,
            run_id,
            report,
            account,
        )

    return conclude(result, verdict_of(result), account_lines(result["account"]))


@flow(name="compare-classifiers", persist_result=False)
def compare_classifiers_of(
    preset: PresetOrNone = "",
    input: Inputs = None,
    overrides: Overrides = None,
    first: Reference = "champion",
    second: Reference = "previous",
) -> dict[str, Any]:
    """Compare two registered classifiers on the same test reviews, leaving out what either was trained on.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file. Empty: the settings of the newer version.
        input: Files, folders or globs of reviews. None: the data of the newer version.
        overrides: Settings as `key=value`.
        first: Number or alias of a version of the classifier, or NAME@ALIAS or NAME/3.
        second: The other one, in the same form.
    """
    chosen = settings_of(
        (first, second),
        preset,
        input or [],
        overrides or [],
        CLASSIFIER,
    )
    describe_flow_run(chosen.config.title, chosen.config.preset, chosen.config.source)
    clean = prepare(chosen.config, recorded_or_read(chosen), [], chosen.clean).clean
    return compare_two_classifiers(chosen.config, clean, first, second)


@flow(
    name="evaluate-classifiers",
    flow_run_name="evaluate-classifiers: {config.source.title}",
    persist_result=False,
)
def predict_all(
    config: Given[RunConfig],
    prepared: Given[Prepared],
    fitted: Given[list[Fitted]],
    parent_run_id: str,
) -> Compared:
    """Let every classifier answer the held-out reviews; compare them on the same reviews."""
    workspace = config.workspace
    classification = config.classification
    running = [predict.submit(workspace, classification, model, prepared) for model in fitted]
    predicted = [future.result() for future in running]
    return compare_classifiers(
        workspace,
        config.evaluation,
        classification.baseline,
        prepared,
        predicted,
        parent_run_id,
    )


@flow(name="embed", persist_result=False)
def embed(
    preset: Preset = "small",
    input: Inputs = None,
    overrides: Overrides = None,
) -> dict[str, Any]:
    """Fit word vectors; return where they are and their figures, which the MLflow run of the flow has too.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. Empty: the demo's synthetic reviews.
        overrides: Settings as `key=value`.
    """
    config = resolve(preset, input, overrides)
    require_gensim()
    require_vocabulary(config.vocabulary, config.embedding)
    with parent_run(config, "embed") as run_id:
        dataset = ingest(config)
        prepared = prepare(config, dataset, [config.embedding.vocabulary])
        log_inputs(config.workspace, prepared, run_id)
        with step("embed", "fit word vectors"):
            built = fit_vectors(config.workspace, config.embedding, config.seed, prepared)
        facts = built.artifact.facts
        tracker = tracker_of(config.workspace)
        tracker.log_params(run_id, {"embedding": config.embedding.model_dump(mode="json")})
        tracker.log_metrics(run_id, {name: float(facts[name]) for name in ("mean_cosine", "words")})
        return {
            "vectors": str(built.artifact.folder),
            "digest": built.artifact.digest,
            **facts,
            "reused": built.reused,
            "mlflow_run_id": run_id,
            "mlflow_page": tracker.link(run_id),
        }


@flow(name="punctuate", persist_result=False)
def punctuate(
    preset: Preset = "small",
    input: Inputs = None,
    overrides: Overrides = None,
) -> dict[str, Any]:
    """Return where the model is, and its figures on the test reviews.

    Args:
        preset: Name of a preset in `config/`, or the path of a TOML file.
        input: Files, folders or globs of reviews. Empty: the demo's synthetic reviews.
        overrides: Settings as `key=value`.
    """
    from reviewlm.tasks.punctuate import (  # it imports torch, which deploying does not need
        MODEL,
        fit_punctuator,
    )

    config = resolve(preset, input, overrides)
    dataset = ingest(config)
    with step("punctuate", "train a tagger of case and punctuation"):
        clean = clean_and_split(config, dataset)
        check_table(config, "clean", clean)
        fitted = fit_punctuator(config, clean)

    return {
        "model": str(fitted.folder / MODEL),
        "digest": fitted.digest,
        **fitted.facts,
    }
