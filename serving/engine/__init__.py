"""Generate many texts at once with one opened bundle: continuous batching, prefix states, jobs. No HTTP here."""
