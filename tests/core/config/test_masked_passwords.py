"""Passwords in addresses are never shown."""

from __future__ import annotations

from core.errors import without_password


def test_passwords_of_addresses_are_masked():
    text = '"tracking_uri": "postgresql://reviewer:s3cret@db.example:5432/mlflow", "other": "http://host:80/a@b"'
    assert without_password(text) == text.replace(":s3cret@", ":***@")
