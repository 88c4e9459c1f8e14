"""Write runs to MLflow, and queue writes while it does not answer."""
