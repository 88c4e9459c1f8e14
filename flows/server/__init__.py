"""Start Prefect servers, limit how many stages run at once, and end the runs of killed processes."""
