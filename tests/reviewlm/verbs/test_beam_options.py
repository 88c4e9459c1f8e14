"""Options of `generate` that have no effect beside others are refused before a model is opened."""

import pytest
from typer.testing import CliRunner

from reviewlm.cli import app


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--require", "soup"], "needs --beam"), (["--beam", "3", "--seed", "2"], "no effect with --beam"),
     (["--beam", "3", "--temperature", "0.5"], "--temperature"), (["--beam", "2", "--n", "3"], "at most 2 reviews"),
     (["--beam", "3", "--watermark", "secret"], "--watermark")],
)  # fmt: skip
def test_options_without_effect_are_refused(arguments, message):
    done = CliRunner().invoke(app, ["generate", *arguments])
    assert done.exit_code == 2
    assert message in done.output
