"""The installation without extras: the pipeline's modules import no optional package."""

from __future__ import annotations

import subprocess

import pytest

from reviewlm.core.provenance import PACKAGE
from tests.programs import command


@pytest.mark.slow
def test_nothing_optional_is_imported_before_it_is_asked_for() -> None:
    done = subprocess.run(
        command("import_without_extras"),
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
