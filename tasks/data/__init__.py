"""Stages that make data: ingest, prepare, data card, drift."""
