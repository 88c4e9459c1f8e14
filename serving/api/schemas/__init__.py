"""Define the schemas of requests and responses."""
