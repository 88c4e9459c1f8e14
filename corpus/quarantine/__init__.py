"""Show, export, correct and replay the records that ingestion set aside."""
