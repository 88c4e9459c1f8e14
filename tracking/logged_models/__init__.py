"""Export bundles as MLflow models and open them again."""
