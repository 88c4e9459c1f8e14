"""Flows of the models that are not language models: classifiers and word vectors."""
