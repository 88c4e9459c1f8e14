"""The page about schedules says how a deployment takes each option of `reviewlm run`."""

from __future__ import annotations

import inspect
import re

from reviewlm.flows.retrain import retrain
from reviewlm.verbs.pipeline import run
from tests.documentation.code_blocks import ROOT

OUTPUT = {"context", "verbose", "json"}
"""Parameters of the command that say how its result is shown."""
OTHERWISE = {"set": "overrides", "rebuild": "execution.rebuild"}
"""Options that a deployment takes under another name, and that name."""


def test_the_page_names_what_a_deployment_takes_for_each_option_of_run() -> None:
    page = (ROOT / "docs" / "how_to" / "schedule.md").read_text(encoding="utf-8")
    codes = re.findall(r"`([^`]+)`", page.replace("```", ""))
    named = {word for code in codes for word in re.findall(r"[a-z]+(?:\.[a-z]+)*", code)}
    options = set(inspect.signature(run).parameters) - OUTPUT
    taken = {OTHERWISE.get(option, option) for option in options}
    assert taken - named == set()
    parameters = set(inspect.signature(retrain).parameters)
    assert parameters == {name for name in taken if "." not in name}
