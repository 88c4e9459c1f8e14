"""Index lines, quotes and escapes of a block of JSON lines with a few numpy passes over the bytes.

The passes also find lines that are not valid JSON or whose escapes are not simple. `corpus.reading.shapes` skips those
lines; `corpus.reading.jsonlines.read_carefully` reads them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PAD = 32
"""Extra bytes that a buffer must have after its content, so that 8-byte words can be read past the last line."""

QUOTE, BACKSLASH, NEWLINE, RETURN, SPACE = (ord(sign) for sign in '"\\\n\r ')
DECODE_BYTES = 1 << 18

_ESCAPES = np.zeros(256, bool)
_ESCAPES[list(b'"/bfnrtu')] = True  # lines with an escaped backslash are left to `read_carefully`
_HEX = np.zeros(256, bool)
_HEX[list(b"0123456789abcdefABCDEF")] = True

Positions = NDArray[np.int64]
Mask = NDArray[np.bool_]


class ByteIndex:
    """The positions of lines, quotes and escapes in one block.

    Attributes:
        buffer: The block with `PAD` bytes after it.
        bytes: The buffer as an array; *words* are the unaligned little-endian 8-byte words that begin at each byte.
        starts, ends: Start and end of each line, without its newline.
        quotes: Positions of quotes that are not escaped.
        counts, first: Number of quotes of each line, and index of its first quote.
        escapes: Positions of backslashes. Each begins a valid escape, except in lines that are *odd*.
        odd: Lines that are not UTF-8, or that contain control characters, an escaped backslash, an escaped surrogate
            or an escape that does not exist in JSON.
    """

    def __init__(self, buffer: memoryview, size: int) -> None:
        self.buffer = buffer
        whole = np.frombuffer(buffer, np.uint8)
        self.bytes = whole
        self.words = np.ndarray((len(buffer) - 7,), "<u8", buffer, strides=(1,))
        block, mask = whole[:size], np.empty(size, bool)  # one mask for all passes: new memory costs more time
        newlines = np.flatnonzero(np.equal(block, NEWLINE, out=mask))
        self.starts: Positions = np.concatenate(([0], newlines + 1))
        self.ends: Positions = np.append(newlines, size)
        if self.starts[-1] == size:
            self.starts, self.ends = self.starts[:-1], self.ends[:-1]
        self.odd: Mask = np.zeros(len(self.starts), bool)
        self.quotes: Positions = np.flatnonzero(np.equal(block, QUOTE, out=mask))
        self.escapes: Positions = np.flatnonzero(np.equal(block, BACKSLASH, out=mask))
        if len(self.escapes):
            self._look_at_escapes()
        self.first: Positions = np.searchsorted(self.quotes, self.starts)
        self.counts: Positions = np.diff(self.first, append=len(self.quotes))
        self._look_for_controls(np.less(block, SPACE, out=mask), len(newlines))
        self._look_for_encoding(size)

    def line_of(self, positions: Positions) -> Positions:
        """Return the number, from 0, of the line that contains each byte."""
        return np.searchsorted(self.starts, positions, side="right") - 1

    def _look_at_escapes(self) -> None:
        at = self.escapes
        after = self.bytes[at + 1]
        bad = ~_ESCAPES[after]
        units = np.flatnonzero(after == ord("u"))
        if len(units):
            digits = self.bytes[at[units, None] + np.arange(2, 6)]
            code = digits[:, :2] | 0x20
            surrogate = (code[:, 0] == ord("d")) & (code[:, 1] >= ord("8"))
            bad[units] = ~_HEX[digits].all(axis=1) | surrogate
        self.odd[self.line_of(at[bad])] = True
        escaped = at[after == QUOTE] + 1
        if len(escaped):
            self.quotes = np.delete(self.quotes, np.searchsorted(self.quotes, escaped))

    def _look_for_controls(self, controls: Mask, newlines: int) -> None:
        if np.count_nonzero(controls) == newlines:
            return
        at = np.flatnonzero(controls)
        value = self.bytes[at]
        before_newline = (value == RETURN) & (self.bytes[at + 1] == NEWLINE)
        self.odd[self.line_of(at[(value != NEWLINE) & ~before_newline])] = True

    def _look_for_encoding(self, size: int) -> None:
        """Mark lines that are not UTF-8: decode pieces of whole lines, and continue after each line that fails."""
        line = 0
        while line < len(self.starts):
            start = int(self.starts[line])
            last = max(int(np.searchsorted(self.starts, start + DECODE_BYTES)) - 1, line)
            try:
                str(self.buffer[start : int(self.ends[last])], "utf-8")
                line = last + 1
            except UnicodeDecodeError as error:
                line = int(self.line_of(np.array([start + error.start]))[0])
                self.odd[line] = True
                line += 1
