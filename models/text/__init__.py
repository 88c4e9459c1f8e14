"""The normal form of text: rules, repairs, personal data."""
