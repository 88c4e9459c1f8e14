"""A data card that another process draws is that of this one to the byte."""

from __future__ import annotations

from pathlib import Path

from reviewlm.core.processes.ahead import call_ahead, imported_ahead
from reviewlm.evaluation.reports.card import HTML, MARKDOWN, draw
