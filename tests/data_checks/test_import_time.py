"""What the import of Great Expectations leaves out, and that it is there when somebody needs it."""

from __future__ import annotations

import subprocess

from tests.programs import command


def test_statistics_are_imported_when_something_in_them_is_used() -> None:
    program = command("import_statistics_late")
    done = subprocess.run(
        program,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.splitlines() == ["[]", "True 0.5 1.0"]
