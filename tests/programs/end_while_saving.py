"""End the process while it saves an n-gram model to a folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from reviewlm.models.ngram import tables
from tests.training.ngram.lines.test_ngram_saving import model_of


def end(*arguments: Any) -> None:
    os._exit(9)


tables._write_facts = end  # type: ignore[assignment]
model_of("abc", 3).save(Path(sys.argv[1]), "single")
