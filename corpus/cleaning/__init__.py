"""Clean ingested reviews: normal form, language, business columns."""
