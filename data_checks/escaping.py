"""Escape HTML in results before Great Expectations writes them into its pages, since it does not do so itself."""

from __future__ import annotations

import copy
import html
from typing import Any

from core.visible import visible


def escaped(validation: Any) -> Any:
    """Return a copy of an expectation's result with HTML escaped, so a tag in the data is shown as text."""
    shown = copy.copy(validation)
    shown.result = _escaped(validation.result)
    shown.expectation_config = escaped_words(validation.expectation_config)
    return shown


def escaped_words(expectation: Any) -> Any:
    """Return a copy of an expectation, or of its configuration, with the HTML in its description escaped."""
    shown = copy.copy(expectation)
    shown.description = _escaped(expectation.description)
    return shown


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return html.escape(visible(value))
    if isinstance(value, dict):
        return {_escaped(key): _escaped(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(map(_escaped, value))
    return value
