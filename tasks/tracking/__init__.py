"""Report runs, parameters and findings to MLflow."""
