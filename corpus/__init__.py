"""Turn review files into tables: read, quarantine, clean, deduplicate, split; or generate synthetic reviews."""
