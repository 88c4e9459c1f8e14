"""Measure n-gram models beside KenLM, and mixtures."""
