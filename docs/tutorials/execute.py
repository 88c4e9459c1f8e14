"""Execute notebooks and store their outputs in them: `make tutorials`.

    python docs/tutorials/execute.py [NOTEBOOK …]

Times of execution are not stored and lines of one cell are one output, so that a second execution changes little.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
SECONDS = 600
"""Time limit of one cell."""


def executed(path: Path) -> nbformat.NotebookNode:
    """Return a notebook with the outputs of a new execution.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
        extra_arguments=["--log-level=ERROR"],
    )
    client.execute()
    notebook.metadata["language_info"] = {
        "name": "python"
    }  # its version is not worth a change of the file
    return notebook


def main() -> None:
    """Execute the notebooks named on the command line, by default all tutorials."""
    for path in [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        print(path.name, flush=True)
        nbformat.write(executed(path), path)


if __name__ == "__main__":
    main()
