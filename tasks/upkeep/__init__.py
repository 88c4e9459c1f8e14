"""Remove from a home what nothing needs, or what a person wants forgotten."""
