"""Record runs and models in MLflow: runs, export as pyfunc, registry, backup of the home folder."""
