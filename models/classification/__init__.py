"""Classify whole reviews: the options, models and bundles of all kinds of classifiers.

`docs/concepts/other_models/labelling.md` shows their use. Nothing is imported here, so that `specs.py` can be read
without torch.
"""
