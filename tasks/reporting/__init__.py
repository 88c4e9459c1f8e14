"""Write the report and the summary of a run."""
