"""Stands for the copy, which a test puts here."""

from reviewlm.models.compiled import kernel as kernel
