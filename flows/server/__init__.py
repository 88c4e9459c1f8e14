"""Run flows: Prefect servers, how many stages run at once, and runs that a killed process left behind."""
