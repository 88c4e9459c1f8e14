"""Start, list and stop the services: Prefect, MLflow, workers, the server of the champion."""
