"""Run a year of weekly retrains within an hour, with planted failures, on a real Prefect server and worker."""
