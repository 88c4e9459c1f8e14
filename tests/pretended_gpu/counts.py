"""Count what a training would ask of a GPU: operators launched, and times that the host would wait for it."""

from __future__ import annotations

import threading
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = Path(__file__).resolve().parent


@dataclass
class Counts:
    """The counts since the last `clear`.

    Args:
        operators: By name: kernels and copies; views launch nothing and are not counted. An operator may be several
            kernels, and cuDNN's whole recurrent layer is one.
        waits: By kind and line of the project: reads of a value, copies without pinned memory, look-ups of positions.
    """

    operators: Counter[str] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    _capturing: int | None = None

    def clear(self) -> None:
        """Start again from zero."""
        self.operators.clear()
        self.waits.clear()

    def launch(self, name: str) -> None:
        """Count an operator."""
        self.operators[name] += 1

    def wait(self, kind: str) -> None:
        """Count a wait of the host, with the line of the project that caused it."""
        self.refuse_in_capture(kind)
        self.waits[kind, _line_of_ours()] += 1

    @contextmanager
    def capture(self) -> Iterator[None]:
        """Raise the error of a GPU, within the block and this thread, for what a CUDA graph cannot hold."""
        self._capturing = threading.get_ident()
        try:
            yield
        finally:
            self._capturing = None

    def refuse_in_capture(self, kind: str) -> None:
        """Raise the error if this thread captures a graph."""
        if self._capturing == threading.get_ident():
            raise RuntimeError(
                f"CUDA error: operation not permitted when stream is capturing ({kind}, {_line_of_ours()})"
            )


def _line_of_ours() -> str:
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if (
            path.is_relative_to(ROOT)
            and not path.is_relative_to(TESTS)
            and "site-packages" not in path.parts
        ):
            return f"{path.relative_to(ROOT)}:{frame.lineno}"
    return "?"
