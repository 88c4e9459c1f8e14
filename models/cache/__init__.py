"""Caches: a static model mixed with counts of the recent stream, or with what followed similar features."""
