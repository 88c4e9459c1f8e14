"""Find exact and near duplicates by SHA-256 and MinHash."""
