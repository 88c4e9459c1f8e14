"""Show, export, mend and read again the records that ingestion set aside."""
