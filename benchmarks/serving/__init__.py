"""Measure the server and the texts that it writes, beside MLflow's server and a loop in torch."""
