"""Fit networks for other machines, which put their jobs into the remote store."""
