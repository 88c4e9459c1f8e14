"""Escape what Great Expectations writes into its pages: it puts values of the data there as they are."""

from __future__ import annotations

import copy
import html
from typing import Any

from core.visible import visible


def escaped(validation: Any) -> Any:
    """Return a copy of an expectation's result for the pages: a value that holds a tag is shown, not obeyed."""
    shown = copy.copy(validation)
    shown.result = _escaped(validation.result)
    shown.expectation_config = escaped_words(validation.expectation_config)
    return shown


def escaped_words(expectation: Any) -> Any:
    """Return a copy of an expectation, or of its configuration, whose description is text for the pages."""
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
