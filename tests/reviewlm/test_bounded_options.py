"""No numeric option of any verb takes a number that ends in a library's error."""

from __future__ import annotations

import pytest
import typer

from reviewlm.cli import app, with_bounds
from tests.core.config.setting_types import types_in

EXTREME = ["nan", "inf", "-inf", "1e20", "9" * 25, "-" + "9" * 25, "9" * 5_000]


def verbs(command, path=()):
    """Every verb with its full name."""
    inside = getattr(command, "commands", {})
    for name, one in inside.items():
        yield from verbs(one, (*path, name))
    if not inside:
        yield " ".join(path), command


def numbers():
    for name, command in verbs(with_bounds(typer.main.get_command(app))):
        for option in command.params:
            kinds = (
                types_in(option.type_descriptor.annotation)
                if hasattr(option, "type_descriptor")
                else set()
            )
            if {int, float} & kinds:
                yield pytest.param(command, option, id=f"{name} {option.opts[0]}")


@pytest.mark.parametrize(("command", "option"), list(numbers()))
def test_no_number_of_a_verb_may_be_extreme(command, option):
    context = command.make_context("verb", [], resilient_parsing=True)
    context.resilient_parsing = False
    for value in EXTREME:
        with pytest.raises(Exception, match=r".") as refused:
            option.process_value(context, value)
        # A usage error: exit code 2.
        assert callable(getattr(refused.value, "format_message", None)), value
