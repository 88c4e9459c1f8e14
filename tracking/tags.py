"""List the tags of MLflow runs, registered versions and registered models, each under one name.

Tags that are part of a record of `core` (the digest of the lineage, the family of the data) are defined there.
"""

# Tags that MLflow's own pages show or read.
PARENT, NOTE, COMMIT = "mlflow.parentRunId", "mlflow.note.content", "mlflow.source.git.commit"
USER, SOURCE_NAME, SOURCE_TYPE = "mlflow.user", "mlflow.source.name", "mlflow.source.type"
LOGGED_TABLES = "mlflow.loggedArtifacts"
DATASET_USE = "mlflow.data.context"
EXPERIMENT_KIND = "mlflow.experimentKind"
MODEL_VERSIONS = "mlflow.modelVersions"

# The flow run in Prefect that wrote an MLflow run.
FLOW_RUN, FLOW_RUN_URL, FLOW_RUN_NAME = "prefect.flow_run_id", "prefect.flow_run_url", "prefect.flow_run_name"

# Runs: their writer, and what they describe.
KEY, PROCESS = "reviewlm.key", "reviewlm.process"
PRESET, KIND, UNIT, ADAPTATION = "reviewlm.preset", "reviewlm.kind", "reviewlm.unit", "reviewlm.adaptation"
CHILD = "reviewlm.child."
"""Prefix of a tag of the parent run: the id of the run of a model, by the model's name."""
FIT_TAG, START_TAG, MODEL_URI_TAG = "reviewlm.fit", "reviewlm.start", "reviewlm.model_uri"
"""Digest of a fit, the model that it started from, and the address of its logged model (also a tag of versions)."""
CARD_TAG, COMPARED_TAG, MEASURED_TAG = "reviewlm.card", "reviewlm.compared", "reviewlm.measured"
"""Digests of the results that a run holds already."""
BELOW_TAG, DRIFT_TAG, DECAY_TAG, CHECKS = "reviewlm.below_floor", "drift", "decay", "checks."
COMPARE_A, COMPARE_B = "compare.a", "compare.b"
SWEEP_STATE, SWEEP_TRIAL, SWEEP_BEST, SWEEP_WINNER = "sweep.state", "sweep.trial", "sweep.best", "sweep.winner"

# Logged models and registered versions.
MODEL_KIND, MODEL_NAME, BUNDLE_DIGEST_TAG, CODE_TAG = "kind", "model", "bundle_digest", "code"
BUNDLE_TAG, DATA_TAG = "bundle", "data"
"""Digests of a version's bundle and of the prepared data set that its model was trained on."""
VERSION_ADAPTATION, LEAK_CERTIFICATE = "adaptation", "leak_certificate"
OUTCOME, REASON, RULE = "gate/outcome", "gate/reason", "gate/rule/"
SCORED_CHALLENGER, SCORED_CHAMPION = "gate/challenger scored", "gate/champion scored"
SINCE = "champion/since"
BY_HAND_WHY, BY_HAND_WHO = "by_hand/why", "by_hand/who"

# The registered model.
BENCHMARK_DIGEST, BENCHMARK_RUN, BENCHMARK_SOURCE = "benchmark/digest", "benchmark/run", "benchmark/source"
