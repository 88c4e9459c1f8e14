"""Name tags, parameters and metrics as MLflow accepts and shows them; flat names, short values.

Tags that are part of a record of `core` (the digest of the lineage, the family of the data) are defined there.

A page with forty tags hides the few that a person looks for. So MLflow stores the tags that only code reads in forms
that its pages leave out: on a run under the prefix "mlflow.", on a version (whose list of versions shows that prefix
too) together as JSON in one tag. All other code uses the plain names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from reviewlm.core.figures import CHARTS, CLASSIFIER_FIGURES, figures_at
from reviewlm.core.lineage import FAMILY_TAG
from reviewlm.core.manifest import flat

# Tags that MLflow's own pages show or read.
RUN_NAME = "mlflow.runName"
RUN_TIME = "%d %b %H:%M"
"""Format of day and time at the end of it."""
RUN_COLOR = "mlflow.runColor"
PARENT = "mlflow.parentRunId"
NOTE = "mlflow.note.content"
COMMIT = "mlflow.source.git.commit"
USER = "mlflow.user"
SOURCE_NAME = "mlflow.source.name"
SOURCE_TYPE = "mlflow.source.type"
LOGGED_TABLES = "mlflow.loggedArtifacts"
DATASET_USE = "mlflow.data.context"
EXPERIMENT_KIND = "mlflow.experimentKind"
MODEL_VERSIONS = "mlflow.modelVersions"

# The flow run in Prefect that wrote an MLflow run.
FLOW_RUN = "prefect.flow_run_id"
FLOW_RUN_URL = "prefect.flow_run_url"
FLOW_RUN_NAME = "prefect.flow_run_name"

# Runs: their writer, and what they describe.
KEY = "reviewlm.key"
PRESET = "reviewlm.preset"
KIND = "reviewlm.kind"
UNIT = "reviewlm.unit"
ADAPTATION = "reviewlm.adaptation"
FLOW = "reviewlm.flow"
"""Name of the flow of a parent run."""
RUN_DATA = "reviewlm.data"
"""Data of a parent run in words."""
CHILD = "reviewlm.child."
"""Prefix of a tag of the parent run: the id of the run of a model, by the model's name."""
FIT_TAG = "reviewlm.fit"
"""Digest of a fit."""
START_TAG = "reviewlm.start"
"""Model that a fit started from."""
MODEL_URI_TAG = "reviewlm.model_uri"
"""Address of the logged model of a fit (also a tag of versions)."""
CARD_TAG = "reviewlm.card"
COMPARED_TAG = "reviewlm.compared"
MEASURED_TAG = "reviewlm.measured"
"""Digests of the results that a run holds already."""
BELOW_TAG = "reviewlm.below_floor"
DRIFT_TAG = "drift"
DECAY_TAG = "decay"
CHECKS = "checks"
COMPARE_A = "compare.a"
COMPARE_B = "compare.b"
BASELINE = "compare.baseline"
RETRAIN = "retrain"
"""Tag of a model's run: day and time of the newest retrain that has compared this model with others."""
RUN_OUTCOME = "outcome"
"""Tag of a retrain's run: what has become of its model, up to now."""
IN_USE = "in use"
REPLACED = "replaced"
ROLLED_BACK = "rolled back"
TURNED_DOWN = "refused"
"""Values of `RUN_OUTCOME` that the gate, or a person, has decided."""
RUNNING = "running"
COMPARISON = "comparison"
"""Values of `RUN_OUTCOME` until the gate has decided, and of a run that decides nothing."""
PASSED_OVER = "passed over"
"""What the name of a model's run says if the model was not tried although it is better on validation."""
RUN_REASON = "reason"
"""Tag of a retrain's run: why, in at most 20 letters (`evaluation/gate/rule_table.py`)."""
MARKS = {
    IN_USE: "★ ",
    REPLACED: "☆ ",
    ROLLED_BACK: "↩ ",
    TURNED_DOWN: "✗ ",
    PASSED_OVER: "",
}
"""What has become of a model, and the mark in front of the name of its run: a list on a phone shows ten letters."""
MODEL_RUN = re.compile(
    rf"(?:[★☆↩✗] )?(?P<model>.+?)(?: (?P<outcome>{'|'.join(MARKS)}))?(?P<when>, .*)?"
)
"""Name of a run with its model, what has become of this, and data, day and time."""
SWEEP_STATE = "sweep.state"
SWEEP_TRIAL = "sweep.trial"
SWEEP_WINNER = "sweep.winner"

# Logged models and registered versions.
MODEL_KIND = "kind"
MODEL_NAME = "model"
BUNDLE_DIGEST_TAG = "bundle_digest"
CODE_TAG = "code"
BUNDLE_TAG = "bundle"
"""Digest of a version's bundle."""
DATA_TAG = "data"
"""Digest of the prepared data set that a version's model was trained on."""
VERSION_ADAPTATION = "adaptation"
LEAK_CERTIFICATE = "leak_certificate"
OUTCOME = "gate/outcome"
REASON = "gate/reason"
RULE = "gate/rule/"
SCORED_CHALLENGER = "gate/challenger scored"
SCORED_CHAMPION = "gate/champion scored"
DECISION_FIGURES = "gate/figures"
"""Figures of the decision as JSON: the text that is shown, by name."""
MADE_FROM = "gate/made from"
"""Preset and data of the model in words."""
RUN_MODELS = "run/models"
"""Other models of the run that judged a version: a JSON object of addresses of logged models by model name."""
RUN_PAGE = "run/page"
"""Path of that run's report in the MLflow UI."""
SINCE = "champion/since"
NOW = "now"
"""What a version is now, with the day: "in use since 2026-11-30", "replaced on 2026-12-07". MLflow's list of versions shows
29 letters of name and value."""
LATER = "gate/later"
"""Tag of a former champion: that the gate, asked about it again, has refused it."""
BY_HAND = "by_hand"
"""What a person decided about a version last, by whom and why."""

HIDDEN = "mlflow.reviewlm."
"""Prefix of the tags of a run that only code reads; MLflow's pages show no tag that begins with "mlflow."."""
BOOKKEEPING = frozenset(
    {
        KEY,
        FIT_TAG,
        MODEL_URI_TAG,
        CARD_TAG,
        COMPARED_TAG,
        MEASURED_TAG,
        FLOW_RUN_URL,
        FLOW_RUN_NAME,
    }
)
PACKED = "mlflow.reviewlm"
"""Tag of a version with all tags that are not shown, as JSON."""
SHOWN = frozenset({MODEL_KIND, MODEL_NAME, FAMILY_TAG, OUTCOME, REASON, NOW, LATER, BY_HAND})
"""Tags of a version that MLflow's pages show."""
PARAM_LENGTH = 6000
TAG_LENGTH = 8000
NAME_LENGTH = 250
DECIDING = (
    *(figure.name for figure in figures_at(CHARTS)),
    "zero_probability_events",
    *(figure.name for figure in figures_at(CHARTS, CLASSIFIER_FIGURES)),
)
"""Figures of the test reviews that a reader decides by; all others are details."""
CURVES_OF_TRAINING = (
    "clipped_share",
    "gradient_norm",
    "learning_rate",
    "peak_memory_megabytes",
    "tokens_per_second",
)
_DETAILS = ("audit", "cost", "final_validation", "fit", "observed")
CHART_SECTIONS = {
    **{f"test/{figure}": f"test/{figure}" for figure in DECIDING},
    "test/": "x_test/",
    **{name: f"training/{name}" for name in CURVES_OF_TRAINING},
    "step_seconds/": "training/step_seconds/",
    **{f"{group}/": f"x_{group}/" for group in _DETAILS},
}
"""Our names of metrics (whole, or the beginning up to a slash), and the names in MLflow. Its chart page makes a section
of each group and sorts the sections by name: deciding figures (`test`), learning curves (`train`), course of training,
curves of `validation`, then details."""


def name_with_outcome(name: str, outcome: str) -> str:
    """Return the name of a run that says what has become of its model: "★ lstm in use, 30 Nov 18:31".

    An outcome that is not in `MARKS` leaves the name without one.
    """
    parts = MODEL_RUN.fullmatch(name)
    if parts is None:
        return name
    words = f" {outcome}" if outcome in MARKS else ""
    return f"{MARKS.get(outcome, '')}{parts['model']}{words}{parts['when'] or ''}"


def outcome_in(name: str) -> str:
    """Return the outcome of a model from the name of its run; "" if the name has none."""
    parts = MODEL_RUN.fullmatch(name)
    return (parts["outcome"] or "") if parts else ""


def stored_name(name: str) -> str:
    """Return the name under which MLflow stores a tag of a run."""
    if name in BOOKKEEPING or name.startswith(CHILD):
        return HIDDEN + name.removeprefix("reviewlm.")
    return name


def value_of(tags: Mapping[str, str], name: str) -> str:
    """Return the value of a run's tag from the tags that MLflow stores, or "" if the run does not have it."""
    return tags.get(stored_name(name), "")


def pack_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags of a version as MLflow stores them: those that are shown, and one tag with all others."""
    rest = {name: value for name, value in tags.items() if name not in SHOWN}
    seen = {name: value for name, value in tags.items() if name in SHOWN}
    if rest:
        return {**seen, PACKED: json.dumps(rest, sort_keys=True, ensure_ascii=False)}
    return seen


def unpack_tags(stored: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a version from those that MLflow stores; a damaged tag of all others counts as none."""
    plain = {name: value for name, value in stored.items() if name != PACKED}
    try:
        rest = json.loads(stored.get(PACKED, "{}"))
        return {**plain, **{str(name): str(value) for name, value in rest.items()}}
    except (ValueError, AttributeError):
        return plain


def flatten(nested: Mapping[str, Any]) -> dict[str, str]:
    """Return `{"training.batch": "20", "labels": "[1, 2]", …}`: dotted names, values as short text.

    Strings are not changed; all other values are written as JSON (`null`, `true`, `[1, 2]`).
    """
    return {
        legal_name(name): shorten(_text(value), PARAM_LENGTH)
        for name, value in flat(nested).items()
    }


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def shorten(text: str, limit: int) -> str:
    """Cut *text* to *limit* characters, with a note at the end."""
    if len(text) <= limit:
        return text
    note = f" … (shortened, {len(text)} characters)"
    return text[: limit - len(note)] + note


def legal_name(name: str) -> str:
    """Return *name* with only the characters and path components that MLflow allows; "hit@1" becomes "hit_at_1"."""
    name = re.sub(r"[^\w\-. /:]", "_", name.replace("@", "_at_"))[:NAME_LENGTH]
    return "/".join(step for step in name.split("/") if step.strip(".")).lstrip(".") or "_"


def metric_name(name: str) -> str:
    """Return the name of a metric in MLflow: legal, and in a group that its chart page shows at the right place."""
    return _rename(legal_name(name), CHART_SECTIONS)[:NAME_LENGTH]


def own_metric_name(stored: str) -> str:
    """Return our name of a metric from its name in MLflow."""
    return _rename(stored, {shown: ours for ours, shown in CHART_SECTIONS.items()})


def _rename(name: str, names: Mapping[str, str]) -> str:
    """Replace the first entry of *names* that is the whole name or a beginning of it that ends its group."""
    for old, new in names.items():
        if name == old or (old.endswith(("/", "_")) and name.startswith(old)):
            return new + name.removeprefix(old)
    return name
