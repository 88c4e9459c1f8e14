"""Record runs in MLflow and reports, summarise them, and reproduce a version from its record."""
