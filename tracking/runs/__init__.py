"""Write runs to MLflow, and keep what it cannot take yet."""
