"""Stages that measure models: scores, audits, intervals, costs."""
