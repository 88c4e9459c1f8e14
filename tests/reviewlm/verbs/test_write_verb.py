"""`reviewlm write` at a terminal of 80 columns: words are shown, Tab takes one, the keys saved are counted."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.errors import ConfigError
from reviewlm.cli import app
from reviewlm.shown_writing import WrittenReview

ROOT = Path(__file__).resolve().parents[3]
CURSOR = b"\x1b[6n"
SCRIPT = """
import sys

import numpy as np

sys.path.insert(0, ".")
from tests.models.table_lm import TableLM, TableSpec

from models.bundles.bundle import Bundle
from models.specs import VocabularySpec
from models.text.normal_form import NormalForm
from models.tokens.vocabulary import Vocabulary
from reviewlm.shown_writing import write_review

texts = ["the soup was great", "the soup was greasy", "the soup was great"]
vocabulary = Vocabulary.train(texts, VocabularySpec(min_count=1), NormalForm())
weights = np.full((vocabulary.size + 1, vocabulary.size), 0.01)
for text in texts:
    ids = vocabulary.encode(text)
    np.add.at(weights, (ids[:-1], ids[1:]), 1)
bundle = Bundle(TableSpec(), vocabulary, TableLM.normalised(weights))
print("RESULT", repr(write_review(bundle, "toy version 1", None, 5)))
"""


class Terminal:
    """A program at a terminal of 80 columns that answers where its cursor is."""

    def __init__(self, script: str) -> None:
        own, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", script], stdin=its, stdout=its, stderr=its, env=environment, cwd=ROOT,
            start_new_session=True,
        )  # fmt: skip
        os.close(its)
        self.own, self.seen = own, b""

    def until(self, text: str, seconds: float = 25) -> str:
        """Read until a text is on the screen; return all of it, without the codes of the terminal."""
        end = time.monotonic() + seconds
        while text not in self.screen():
            assert time.monotonic() < end, self.screen()
            if select.select([self.own], [], [], 0.1)[0]:
                new = os.read(self.own, 65536)
                if CURSOR in new:
                    os.write(self.own, b"\x1b[1;1R")
                self.seen += new
        found, self.seen = self.screen(), b""
        return found

    def screen(self) -> str:
        """Return what was written since the last call of `until`."""
        return re.sub(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()][0-9A-B])", "", self.seen.decode("utf-8", "ignore"))

    def press(self, keys: str) -> None:
        """Press keys, then Ctrl-L: all of the screen is written again, not only what changed."""
        os.write(self.own, keys.encode() + b"\x0c")


@pytest.mark.slow
def test_a_review_is_written_with_tab_and_the_keys_are_counted():
    terminal = Terminal(SCRIPT)
    assert "toy version 1" in terminal.until("give up.")
    terminal.press("the soup was gre")
    shown = terminal.until("16 characters with 16 keys")
    assert "1 great" in shown
    assert "2 greasy" in shown
    terminal.press("\t")
    assert "18 characters with 17 keys: 6% of the keys saved" in terminal.until("of the keys saved")
    terminal.press("\x7f")
    terminal.until("17 characters with 18 keys")
    terminal.press("\x04")
    assert "RESULT WrittenReview(text='the soup was grea', keys=18)" in terminal.until("keys=18)")
    assert terminal.process.wait(30) == 0


def test_without_a_terminal_the_reason_is_named():
    with pytest.raises(ConfigError, match="needs a terminal"):
        CliRunner().invoke(app, ["write"], catch_exceptions=False)


@pytest.mark.parametrize(("text", "keys", "savings"), [("", 0, 0.0), ("abcd", 1, 0.75), ("ab", 4, -1.0)])
def test_savings_are_relative_to_the_characters_written(text, keys, savings):
    assert WrittenReview(text, keys).savings == savings
