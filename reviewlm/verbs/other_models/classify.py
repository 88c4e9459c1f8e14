"""Define the commands of review classifiers: fit, register and compare them, classify texts, show weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviewlm import options, terminal
from reviewlm.core.errors import ConfigError
from reviewlm.core.figures import ACCURACY, CLASSIFIER_FIGURES, TERMINAL, figures_at
from reviewlm.flow_runs import (
    require_data_of,
    run_flow,
    run_version_flow,
    settings_of_versions,
    with_rebuild,
)
from reviewlm.options import Input, Json, Preset, Rebuild, Set, Verbose, configure, run_checked
from reviewlm.shown_results import show_report

if TYPE_CHECKING:
    from reviewlm.core.config.run_config import RunConfig

app = typer.Typer(
    no_args_is_help=True,
    help="Fit and use review classifiers: stars, negative and positive, or a field of the files.",
)
Version = Annotated[
    str,
    typer.Option(
        "--model",
        help="Alias or number of a version, NAME of a registered classifier, NAME@ALIAS or NAME/3.",
    ),
]
COMPARED = "Alias or number of a version, NAME@ALIAS or NAME/3."
PRESET = "classify"


@app.command("fit")
def fit(
    input: Input = None,
    preset: Preset = PRESET,
    set: Set = None,
    rebuild: Rebuild = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Fit the classifiers of a preset, compare them on the test reviews, register the best, and run the gate.

    \b
    Examples:
      reviewlm models classify fit --input reviews.json
      reviewlm models classify fit --input reviews.json --set classification.label=polarity
    """
    result = run_flow(
        "classify",
        preset,
        input,
        with_rebuild(set, rebuild),
        _require_usable,
    )
    _show_table(result)
    promoted = "champion" if result["promoted"] else "not champion"
    version = result["version"]
    if version is not None:
        terminal.say(
            f"{result['registered_model']} version {version} ({result['challenger']}): {promoted}."
        )

    terminal.say(f"Gate: {result['reason']}.")
    show_report(result)
    terminal.last_line(result, json)


def _require_usable(config: RunConfig) -> None:
    from reviewlm.corpus.ingestion.look_before import require_usable
    from reviewlm.tasks.classification.labelling import LABELLINGS, require_classifiers

    require_classifiers(config.classification, config.preset)
    label = config.classification.label
    if label in LABELLINGS:
        return
    if not config.source.input:
        raise ConfigError(
            "The embedded corpus has no such field",
            where="classification.label",
            value=label,
            remedy="name files that have it (--input), or predict 'stars' or 'polarity'",
        )

    require_usable(config.source.input, config.source, label)


@app.command("predict")
def predict(
    file: Annotated[
        str, typer.Argument(help="File with one text per line; '-' reads standard input.")
    ],
    model: Version = "champion",
    preset: Preset = PRESET,
    set: Set = None,
    json: Json = False,
) -> None:
    """Classify texts with the registered champion: the label of each, with its probability.

    Each answer has the number of its line in the file, with --json also the share of the words that the model knows.
    Lines without a text are left out.

    \b
    Examples:
      reviewlm models classify predict texts.txt
      reviewlm models classify predict - --model reviewlm-polarity@champion
    """
    lines = terminal.read_lines(file)
    texts = [text for _, text in lines]
    config = configure(preset, set, create=False)
    from reviewlm.tracking.logged_models.export import CLASSIFIER
    from reviewlm.tracking.registry.opening import open_version

    bundle, version = open_version(
        config.workspace, config.classification.model_name, model, CLASSIFIER
    )
    classified = run_checked(lambda: bundle.classify(texts))
    rows = [
        {
            "line": line,
            "text": text,
            **classified.answer(bundle.labels, row),
        }
        for row, (line, text) in enumerate(lines)
    ]
    terminal.show_warnings(
        warnings := bundle.warnings(texts, classified, [f"line {line}" for line, _ in lines])
    )
    shown = []
    for row in rows:
        shown.append({name: row.get(name) for name in ("line", "label", "probability", "text")})

    terminal.show_rows(shown, f"{version.name} version {version.version}: what each text says")
    terminal.last_line(
        {
            "model": version.name,
            "version": version.version,
            "answers": rows,
            "warnings": warnings,
        },
        json,
    )


@app.command("weights")
def weights(
    model: Version = "champion",
    top: Annotated[
        int,
        typer.Option(
            "--top",
            min=1,
            max=1_000,
            help="Number of words for each label.",
        ),
    ] = 10,
    preset: Preset = PRESET,
    set: Set = None,
    json: Json = False,
) -> None:
    """Show the words that speak most for each label, of a classifier of the kind `logistic` or `bayes`.

    \b
    Example:
      reviewlm models classify weights --model reviewlm-polarity@champion --top 20
    """
    config = configure(preset, set, create=False)
    from reviewlm.core.errors import InputError
    from reviewlm.models.classification.features import FeatureClassifier
    from reviewlm.tracking.logged_models.export import CLASSIFIER
    from reviewlm.tracking.registry.opening import open_version

    bundle, version = open_version(
        config.workspace, config.classification.model_name, model, CLASSIFIER
    )
    if not isinstance(bundle.model, FeatureClassifier) or len(bundle.model.layers) > 1:
        raise InputError(
            "This classifier has no weight for each feature",
            where=f"{version.name} version {version.version}",
            value=f"kind {bundle.spec.kind}",
            remedy="name a version of the kind logistic: --model NAME/NUMBER",
        )

    strongest = [weight._asdict() for weight in bundle.model.strongest(bundle.vocabulary, top)]
    rows = []
    for label in bundle.labels:
        features = []
        for weight in strongest:
            if weight["label"] == label:
                features.append(f"{weight['feature']} {weight['weight']:+.2f}")

        rows.append({"label": label, "features": "; ".join(features)})

    terminal.show_rows(
        rows, f"{version.name} version {version.version}: what speaks for each label"
    )
    terminal.last_line(
        {
            "model": version.name,
            "version": version.version,
            "weights": strongest,
        },
        json,
    )


@app.command("compare")
def compare(
    first: Annotated[str, typer.Argument(help=COMPARED)],
    second: Annotated[str, typer.Argument(help=COMPARED)],
    input: options.VersionInput = None,
    preset: options.VersionPreset = "",
    set: Set = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Compare two registered classifiers on the same test reviews: figures, and whether chance explains them.

    Without --input: the test reviews of the newer version. Reviews that one of the two was fitted or chosen on are left
    out.

    \b
    Example:
      reviewlm models classify compare champion previous
    """
    chosen = settings_of_versions(
        [first, second],
        preset,
        input,
        set,
        classifiers=True,
    )
    require_data_of(chosen)
    result = run_version_flow(
        "compare_classifiers_of",
        chosen,
        preset,
        input,
        set or [],
        first=first,
        second=second,
    )
    terminal.say(
        f"A: {result['a']}\nB: {result['b']}\nBoth answered the same {result['reviews']:,} test reviews."
    )
    for note in result["notes"]:
        terminal.say(f"Note: {note}.")

    _show_table(result)
    terminal.say(result["sentence"])
    terminal.last_line(result, json)


def _show_table(result: Mapping[str, Any]) -> None:
    """Write the figures of each classifier on the test reviews, the best first."""
    columns = figures_at(TERMINAL, CLASSIFIER_FIGURES)
    best = columns[0].name
    rows = []
    for model in sorted(result["models"], key=lambda model: -model["test"][best]):
        test = model["test"]
        line = {
            "classifier": model["name"],
            "kind": model["kind"],
            **{figure.words: figure.text(test) for figure in columns},
        }
        rows.append(line)

    majority = result["majority"]
    total = result.get("test_reviews", result["reviews"])
    count = f"{result['reviews']:,}" + (
        f" of {total:,} have a label and are" if total > result["reviews"] else ""
    )
    title = f"Test reviews, {result['label']}: {count} answered"
    terminal.show_rows(rows, title)
    for figure in columns:
        terminal.say(f"  {figure.words}: {figure.meaning}")

    always = majority["label"]
    level = majority["accuracy"]
    terminal.say(
        f"Always answering {always!r}, the most frequent label: accuracy {ACCURACY.number(level)}."
    )
    if rarest := _rarest_label(result):
        terminal.say(rarest)


def _rarest_label(result: Mapping[str, Any]) -> str:
    """Return how many reviews of the rarest label each classifier recognises: averages of few reviews hide that."""
    tests = {model["name"]: model["test"] for model in result["models"]}
    first = next(iter(tests.values()))
    labels = result.get("labels") or first.get("labels")
    if not labels or any("confusion" not in test for test in tests.values()):
        return ""

    counts = [sum(answers) for answers in first["confusion"]]
    rarest = min(range(len(counts)), key=counts.__getitem__)
    found = [f"{name} {test['confusion'][rarest][rarest]}" for name, test in tests.items()]
    return (
        f"The rarest label, {labels[rarest]!r}, has {counts[rarest]:,} test reviews; "
        f"recognised of them: {', '.join(found)}."
    )
