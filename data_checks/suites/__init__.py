"""Suites of expectations for the tables between the stages."""
