"""The normal form of text: rules, repairs, personal data; files that are no text."""
