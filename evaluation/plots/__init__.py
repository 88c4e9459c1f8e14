"""Draw the figures of reports and of MLflow."""
