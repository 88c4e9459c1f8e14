"""Run a stage: reuse or build its result, report its progress, wait for a slot, hand work to a cluster."""
