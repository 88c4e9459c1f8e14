"""Registered versions, the decision log and the champion alias."""
