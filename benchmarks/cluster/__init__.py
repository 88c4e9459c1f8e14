"""Measure what a cluster costs and gains."""
