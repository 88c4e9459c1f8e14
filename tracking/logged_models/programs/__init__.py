"""Programs that travel with a logged model (pyfunc), or test it in a fresh process (smoke)."""
