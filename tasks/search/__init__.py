"""Search hyperparameters and fit scaling laws."""
