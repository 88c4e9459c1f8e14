"""Serve registered models: engine, versions, HTTP interface, page."""
