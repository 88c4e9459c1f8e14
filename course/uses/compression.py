"""Compress a file with a language model, and give back the same bytes.

    python -m reviewlm.course.uses.compression write reviews.txt reviews.rlm --model champion
    python -m reviewlm.course.uses.compression read reviews.rlm reviews.txt --model champion
    python -m reviewlm.course.uses.compression measure reviews.txt --model champion

A model that gives the next token probability p lets it be written in −log2 p bits (Shannon 1948), so a better model is
a better compressor, and bits per byte are its size on a disk. Lines are documents; 256 of them are read side by side.

The file names the model by its digest, and torch and the processor's instructions, since another rounding of one
probability would give other text. Each block has the checksum of its bytes. What does not fit, or was cut or changed,
is refused, and nothing is written.
"""

from __future__ import annotations

import bz2
import lzma
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from itertools import islice
from pathlib import Path
from time import monotonic, process_time
from typing import IO, NamedTuple
from zlib import crc32

import pyarrow
import torch

import reviewlm
from reviewlm.course.inputs import CourseParser, show
from reviewlm.course.uses.range_coder import RangeDecoder, RangeEncoder
from reviewlm.course.uses.text_codes import Document, TextCoder
from reviewlm.models.atomic_files import new_file
from reviewlm.models.bundles.bundle import Bundle

MAGIC = b"RLM\x02"
LONGEST_DOCUMENT = 20_000
"""Bytes of the longest document; longer lines are split, and joined again."""
DOCUMENTS_IN_BLOCK = 256
"""Documents of a block."""
DIGEST = 16
"""Bytes of the model's digest."""


class NotReadable(ValueError):
    """A compressed file cannot be read; the message says why."""


class CompressedSize(NamedTuple):
    """Sizes of a written file: bytes of the text, bytes of the file, and tokens."""

    bytes: int
    size: int
    tokens: int


class CodingProgress:
    """Say on the terminal every second how many tokens were coded."""

    def __init__(self) -> None:
        self._tokens = 0
        self._began = self._told = monotonic()

    def __call__(self, tokens: int) -> None:
        """Count some more tokens."""
        self._tokens += tokens
        if (now := monotonic()) - self._told >= 1.0:
            self._told = now
            speed = self._tokens / (now - self._began)
            print(f"\r{self._tokens:,} tokens, {speed:,.0f} a second", end="", file=sys.stderr)

    def end(self) -> None:
        """End the line that was written."""
        if self._told > self._began:
            print(file=sys.stderr)


def compress(
    bundle: Bundle,
    source: IO[bytes],
    target: IO[bytes],
    tell: Callable[[int], None] = lambda tokens: None,
) -> CompressedSize:
    """Write the bytes of *source* in the code of a model."""
    torch.set_num_threads(1)
    machine = _machine().encode()
    head = MAGIC + bytes.fromhex(bundle.digest)[:DIGEST] + bytes([len(machine)]) + machine
    target.write(head)
    coder = TextCoder(bundle, tell)
    total = 0
    size = len(head)
    tokens = 0
    while documents := [
        coder.prepare(*line) for line in islice(_lines(source), DOCUMENTS_IN_BLOCK)
    ]:
        encoder = RangeEncoder()
        content = _join(documents)
        tokens += coder.code(encoder, documents)
        payload = encoder.finish()
        block = (
            _varint(len(documents)) + _varint(len(payload)) + payload + _checksum(payload, content)
        )
        target.write(block)
        total += len(content)
        size += len(block)

    end = _varint(0) + _varint(total)
    target.write(end)
    return CompressedSize(total, size + len(end), tokens)


def decompress(
    bundle: Bundle,
    source: IO[bytes],
    target: IO[bytes],
    tell: Callable[[int], None] = lambda tokens: None,
) -> None:
    """Write the bytes that were compressed.

    Raises:
        NotReadable: Another model or machine wrote the file, it is none of ours, or it was cut or changed.
    """
    torch.set_num_threads(1)
    if _take(source, len(MAGIC)) != MAGIC:
        raise NotReadable("it is not a file that this program wrote")

    digest = _take(source, DIGEST).hex()
    machine = _take(source, _take(source, 1)[0]).decode(errors="replace")
    if not bundle.digest.startswith(digest):
        raise NotReadable(
            f"model {digest[:12]} wrote it, and this is {bundle.digest[:12]}: name the one that wrote it"
        )
    if machine != _machine():
        raise NotReadable(
            f"it was written with {machine}, and this is {_machine()}, which rounds otherwise"
        )

    coder = TextCoder(bundle, tell)
    total = 0
    while count := _number(source):
        if count > DOCUMENTS_IN_BLOCK:
            raise NotReadable(f"it was cut or changed after byte {total:,} of the text")
        documents = [Document() for _ in range(count)]
        payload = _take(source, _number(source))
        checksum = None
        try:
            coder.code(RangeDecoder(payload), documents)
            content = _join(documents)
            checksum = _checksum(payload, content)
        except (ValueError, IndexError, OverflowError):  # a changed file may decode to anything
            content = b""
        if _take(source, 4) != checksum:
            raise NotReadable(
                f"it was changed after byte {total:,} of the text, or another kind of machine wrote it"
            )
        target.write(content)
        total += len(content)

    if _number(source) != total or source.read(1):
        raise NotReadable("it was changed at its end")


def _checksum(payload: bytes, content: bytes) -> bytes:
    return crc32(content, crc32(payload)).to_bytes(4)


def _machine() -> str:
    return f"torch {torch.__version__} {torch.backends.cpu.get_cpu_capability()}"


def _lines(source: IO[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield lines without their break, and whether there was one; long ones are split."""
    while line := source.readline(LONGEST_DOCUMENT):
        yield line.removesuffix(b"\n"), line.endswith(b"\n")


def _join(documents: list[Document]) -> bytes:
    return b"".join(document.content + b"\n" * document.ends for document in documents)


def _varint(number: int) -> bytes:
    """Return a number in bytes of 7 bits, the lowest first; all but the last have the eighth bit."""
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _number(source: IO[bytes]) -> int:
    number = shift = 0
    while (byte := _take(source, 1)[0]) > 127 and shift < 56:
        number = number | (byte & 127) << shift
        shift += 7
    return number | byte << shift


def _take(source: IO[bytes], size: int) -> bytes:
    content = source.read(size)
    if len(content) < size:
        raise NotReadable("it was cut")
    return content


def sizes(content: bytes) -> dict[str, int]:
    """Return the size of some bytes by general compressors at their best; those that are installed."""
    made = {
        "xz -9e": len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME)),
        "bzip2 -9": len(bz2.compress(content)),
        "zstd -22": len(pyarrow.Codec("zstd", 22).compress(content)),
        "brotli 11": len(pyarrow.Codec("brotli", 11).compress(content)),
    }
    with suppress(ImportError):
        made["ppmd, order 16"] = len(
            import_module("pyppmd").compress(content, max_order=16, mem_size=256 << 20)
        )

    return made


def measure(
    bundle: Bundle,
    content: bytes,
    tell: Callable[[int], None] = lambda tokens: None,
) -> list[dict[str, str | int | float]]:
    """Return a row for each compressor: bytes, bits per byte, share of the size by xz, kilobytes per CPU second."""
    began = process_time()
    packed = BytesIO()
    compress(bundle, BytesIO(content), packed, tell)
    seconds = process_time() - began
    unpacked = BytesIO()
    began = process_time()
    decompress(bundle, BytesIO(packed.getvalue()), unpacked, tell)
    back = process_time() - began
    if unpacked.getvalue() != content:
        raise RuntimeError("the bytes that came back are others")

    made = {bundle.spec.name: len(packed.getvalue()), **sizes(content)}
    speed = {
        bundle.spec.name: f"{len(content) / seconds / 1e3:.1f} {len(content) / back / 1e3:.1f}"
    }
    return [
        {
            "compressor": name,
            "bytes": size,
            "bits per byte": 8 * size / len(content),
            "of xz": size / made["xz -9e"],
            "kB per CPU s, back": speed.get(name, ""),
        }
        for name, size in made.items()
    ]


def main() -> None:
    """Compress, decompress, or compare with general compressors."""
    parser = CourseParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, files in (
        ("write", ("source", "target")),
        ("read", ("source", "target")),
        ("measure", ("source",)),
    ):
        one = verbs.add_parser(verb)
        for file in files:
            one.add_argument(file, type=Path)
        one.add_argument(
            "--model",
            default="champion",
            help="a version (champion, 3, NAME@ALIAS) or a bundle's folder",
        )

    options = parser.parse_args()
    bundle = reviewlm.load(
        Path(options.model) if Path(options.model).is_dir() else options.model
    ).bundle
    try:
        if options.verb == "measure":
            progress = CodingProgress()
            rows = measure(bundle, options.source.read_bytes(), progress)
            progress.end()
            show(rows)
            return
        with options.source.open("rb") as source, new_file(options.target) as target:
            progress = CodingProgress()
            if options.verb == "read":
                decompress(bundle, source, target, progress)
                progress.end()
                return
            written = compress(bundle, source, target, progress)
            progress.end()
        print(
            f"{written.bytes:,} bytes in {written.size:,}, {8 * written.size / max(1, written.bytes):.3f} bits each"
        )
    except (OSError, NotReadable) as error:
        sys.exit(f"{options.source}: {error}")


if __name__ == "__main__":
    main()
