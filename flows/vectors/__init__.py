"""Flows about word vectors."""
