"""Run commands (a JSON list of lists of words), and print their exit codes and which frameworks they have imported."""

from __future__ import annotations

import json
import sys

from reviewlm.boundary import run_verb
from reviewlm.cli import app

HEAVY = {"prefect", "mlflow", "great_expectations", "sqlalchemy", "fastapi"}


def exit_code(words: list[str]) -> int:
    return run_verb(lambda: app(words, standalone_mode=False), words)


codes = [exit_code(words) for words in json.loads(sys.argv[1])]
sys.stdout.write(json.dumps([codes, sorted(HEAVY & set(sys.modules))]))
