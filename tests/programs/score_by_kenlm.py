"""Print what KenLM's module says of each word of lines (JSON on standard input), with an interpreter that has it."""

from __future__ import annotations

import json
import sys

import kenlm

model = kenlm.Model(sys.argv[1])
print(json.dumps([list(model.full_scores(line)) for line in json.load(sys.stdin)]))
