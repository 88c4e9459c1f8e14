"""Run each stage of the pipeline: re-use its stored result or build it, and show it in Prefect and MLflow."""
