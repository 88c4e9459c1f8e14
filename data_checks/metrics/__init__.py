"""Evaluate expectations chunk by chunk with polars."""
