"""Describe what requests take and what answers hold."""
