"""Read JSON lines, each line alone so that a bad one does not affect others, and JSON arrays, element by element.

orjson decodes the lines, because it says which line it did not understand. Readers of whole tables do not: polars makes
text of the number in `{"text": 5}` and takes the first of two equal names, pyarrow refuses all lines for one bad value.

A JSON array, or objects over several lines, are read in blocks: a file of any size needs the memory of one block.
This module only finds the borders of the elements, by strings, brackets and commas (RFC 8259). The bytes between two
borders are decoded one element at a time. So if an element is broken inside, only this element goes into quarantine,
with its bytes.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any

import orjson
import polars as pl

from reviewlm.core.errors import MissingColumn, Unreadable
from reviewlm.corpus.account import Entry, Outcome
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.reading.convert import IDS, convert
from reviewlm.corpus.reading.field_names import (
    FOLDED,
    fold,
    is_text,
    our_record,
    require_fields,
    respelt,
    spellings_of,
)
from reviewlm.corpus.reading.foreign import LONGEST_NAME, command_for
from reviewlm.corpus.reading.known_names import PLACES, bare, find_known
from reviewlm.corpus.reading.lines import BOM, RAW_BYTES, pass_over, too_long
from reviewlm.corpus.reading.wrappings import (
    DEPTH,
    SIGN,
    Position,
    are_wrapped,
    has_several,
    place_of_records,
    unwrap,
)
from reviewlm.corpus.schema import FIELDS, LABEL, Block, Limits, Problem, Reason
from reviewlm.models.threads import map_in_order

KNOWN_NAMES = frozenset({*FIELDS, "useful", "funny", "cool"})
"""Names of the fields in Yelp's own files."""
STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
STRING_OR_CONSTANT = re.compile(STRING.pattern + rb"|\bNaN\b", re.DOTALL)
NOT_JSON = re.compile(rb"[:,\[]\s*(NaN|-?Infinity)\s*[,}\]]")
TABLE_BEGINS = re.compile(
    rb'\s*\{\s*"(?:[^"]*"\s*:\s*\{\s*"\d+"\s*:|\d+"\s*:\s*\{|columns"\s*:\s*\[|schema"\s*:\s*\{\s*"fields")'
)
"""How a whole table in one line begins, where the line is too long to be decoded."""
RECORD_SIGN = b"\x1e"
BLANK = b" \t\r\n,"
GAP = re.compile(rb"(?:\s|\xef\xbb\xbf)*")
"""What may stand between two arrays or objects: blanks, and the byte order marks of files joined with `cat`."""
RECORDS_PER_BLOCK = 20_000
FIRST_LINES = 5
"""Lines at the beginning that tell whether records are arrays."""


@dataclass(frozen=True)
class Stretch:
    """Whole lines of a file.

    Attributes:
        lines: Their bytes.
        first_line: Number of the first line.
        problems: The problem of one line that is too long for memory; then the stretch has no lines.
    """

    lines: bytes
    first_line: int
    problems: tuple[Problem, ...] = ()


def read_json_lines(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """Yield the records of a file with one JSON object per line; blank lines are skipped.

    Memory holds a few blocks at a time, each of up to `block_bytes + max_record_bytes`, even if lines are very long.

    Raises:
        MissingColumn: The first block has objects, and none of them has a text, or a field named by the user.
    """
    yield from map_in_order(
        partial(parse, source=source, limits=limits),
        _stretches(stream, source, limits),
        limits.workers,
    )


def _stretches(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Stretch]:
    rest = b""
    line = 1
    started = False
    while True:
        more = stream.read(limits.block_bytes)
        if whole := more.rfind(b"\n") + 1:
            lines = b"".join((rest, memoryview(more)[:whole]))
            rest = more[whole:]
        else:
            lines, rest = (b"", rest + more) if more else (rest, b"")
        if lines:
            if not started:
                require_no_table(lines, source)
                _require_objects(lines, source)
                if limits.renamed or not has_text(unwrap(_first_value(lines)), limits):
                    require_known([_loads(line) for line in lines.split(b"\n")], source, limits)
                started = True
            yield Stretch(lines, line)
            line += lines.count(b"\n")
        if not more:
            return
        if len(rest) > limits.max_record_bytes:
            if not started and TABLE_BEGINS.match(rest):
                raise whole_table(source)
            yield Stretch(b"", line, (pass_over(stream, rest, line, limits),))
            rest = b""
            line = line + 1


def require_no_table(beginning: bytes, source: str) -> None:
    """Refuse a file whose first line is a whole table, as pandas writes it unless it is told otherwise.

    Raises:
        Unreadable: It is an object of columns or of rows, or it names the columns beside the data.
    """
    first = unwrap(_first_value(beginning))
    if isinstance(first, dict) and first:
        by_name = all(isinstance(value, dict) for value in first.values())
        if by_name and len(first) == 1 and has_text(next(iter(first.values())), Limits()):
            return  # a review within a record, which has only this name
        if by_name or first.keys() >= {"columns", "data"} or first.keys() >= {"schema", "data"}:
            raise whole_table(source)


def _require_objects(beginning: bytes, source: str) -> None:
    """Refuse a file whose first lines are all arrays of values.

    Raises:
        Unreadable: It has the command that names the values.
    """
    lines = [line for line in beginning.split(b"\n", FIRST_LINES)[:FIRST_LINES] if line.strip()]
    rows = [_loads(line) for line in lines]
    if len(rows) > 1 and all(isinstance(row, list) and row for row in rows):
        raise rows_without_names(rows, source, lines=True)


def _first_value(lines: bytes) -> Any:
    """Return the value in the first line; None if it is not JSON."""
    return _loads(lines.lstrip().partition(b"\n")[0])


def has_text(record: Any, limits: Limits) -> bool:
    """Return whether a decoded value is an object with a text."""
    return isinstance(record, dict) and any(is_text(name, limits.renamed) for name in record)


def whole_table(source: str) -> Unreadable:
    """Return the error for a file that is a table, not a record a line."""
    return Unreadable(
        "The file is one JSON value that holds a whole table",
        where=source,
        cause="pandas writes a table in this way unless it is told otherwise",
        remedy='write one object a record: frame.to_json(file, orient="records", lines=True)',
    )


def rows_without_names(rows: Sequence[Sequence[Any]], source: str, lines: bool) -> Unreadable:
    """Return the error for records that are arrays of values, with the command that names the values.

    Args:
        rows: The first records; the first one has the names of the fields if it names a text.
        lines: There is a record a line, not one array of all.
    """
    first = rows[0]
    every = "-s" if lines else ""
    if all(isinstance(name, str) and len(name) <= LONGEST_NAME for name in first):
        has_names = any(fold(name) in FOLDED or bare(name) in PLACES["text"] for name in first)
    else:
        has_names = False

    if has_names:
        program = ".[0] as $names | .[1:][] | [$names, .] | transpose | map({(.[0]): .[1]}) | add"
    else:
        every = ""
        lengths = [len(value) if isinstance(value, str) else 0 for value in first]
        place = lengths.index(max(lengths, default=0)) if lengths else 0
        program = f"{'' if lines else '.[] | '}{{text: .[{place}]}}"

    options = f"-c {every}".strip()
    return Unreadable(
        "The records are arrays of values without the names of their fields",
        where=source,
        value=f"arrays of {len(first)} values",
        remedy='in pandas: frame.to_json(file, orient="records", lines=True); or name the fields: '
        f"{command_for(source, f'jq {options} {shlex.quote(program)}')} > reviews.jsonl",
    )


def require_known(values: Sequence[Any], source: str, limits: Limits) -> None:
    """Refuse a file if none of its first objects has a text, or a field that the user named.

    Raises:
        MissingColumn: There are objects, and all of them lack it.
    """
    records = [unwrap(value) for value in values if isinstance(value, dict)]
    keys = {key: None for record in records for key in record}
    if not keys:
        return

    try:
        # a later record may be the first with a label
        require_fields(source, keys, limits, label=False)
    except MissingColumn as error:
        path = place_of_records(records[0], partial(_may_have_text, limits=limits))
        if not path:
            raise
        raise MissingColumn(
            error.what,
            where=source,
            value=error.value,
            cause=f"the reviews stand deeper in the records, at {path}",
            remedy=f"take them out: jq -c '{path}' {source} > reviews.jsonl",
        ) from error


def _may_have_text(record: Any, limits: Limits) -> bool:
    """Return whether a decoded value is an object with a text, maybe under a name that other programs give it."""
    if has_text(record, limits):
        return True
    other = find_known(record).get("text")
    return other is not None and isinstance(record[other], str)


def _loads(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def parse(stretch: Stretch, source: str, limits: Limits) -> Block:
    """Return the records of a stretch, in order, and a reason for each line that cannot be used."""
    lines = stretch.lines.split(b"\n")
    numbers = range(stretch.first_line, stretch.first_line + len(lines))
    return decode_records(lines, numbers, list(stretch.problems), source, limits)


def decode_records(
    lines: Sequence[bytes],
    numbers: Sequence[int],
    problems: list[Problem],
    source: str,
    limits: Limits,
) -> Block:
    """Return the records in the bytes of JSON values, in order; faults of other values are appended to *problems*."""
    objects = list[Any]()
    failed = list[int]()
    loads = orjson.loads
    keep = objects.append
    for row, line in enumerate(lines):
        try:
            keep(loads(line))
        except orjson.JSONDecodeError:
            keep(None)
            failed.append(row)

    if max(map(len, lines), default=0) > limits.max_record_bytes:
        long = (row for row, line in enumerate(lines) if len(line) > limits.max_record_bytes)
        failed = sorted({*failed, *long})

    left = set[int]()
    repaired = 0
    for row in failed:
        number = numbers[row]
        line = lines[row]
        if len(line) > limits.max_record_bytes:
            problems.append(too_long(number, line, limits))
            left.add(row)
            continue
        # In files joined with `cat` a mark can be in the middle; some programs write a comma at the end of a line, or
        # the sign of RFC 7464 at its beginning.
        content = line.strip().removeprefix(BOM).removeprefix(RECORD_SIGN).removesuffix(b",")
        try:
            objects[row] = loads(content)
            continue
        except orjson.JSONDecodeError as error:
            objects[row] = _loads(without_constants(content))
            if objects[row] is not None:
                repaired += 1
                continue
            left.add(row)
            if content:
                problems.append(
                    Problem(number, reason_of(content, error), why_of(content, error), line)
                )

    objects, numbers, lines = (_without(left, some) for some in (objects, numbers, lines))
    block = from_objects(objects, numbers, lines, source, limits, problems)
    if not repaired:
        return block

    detail = "NaN, which is no JSON, is read as null"
    entry = Entry("read", Outcome.REPAIRED, Kind.NAN_IN_JSON, repaired, source, detail, odd=True)
    return replace(block, entries=(*block.entries, entry))


def without_constants(content: bytes) -> bytes:
    """Return JSON with null for NaN outside its strings; Python writes it for a number that is none."""
    return STRING_OR_CONSTANT.sub(
        lambda found: found[0] if found[0].startswith(b'"') else b"null", content
    )


def _without(rows: Container[int], values: Sequence[Any]) -> list[Any]:
    if rows:
        return [value for row, value in enumerate(values) if row not in rows]
    return list(values)


def reason_of(content: bytes, error: orjson.JSONDecodeError) -> Reason:
    """Return whether orjson refused the bytes because of their encoding or because they are not JSON."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return Reason.ENCODING
    return Reason.ENCODING if "surrogate" in str(error) else Reason.MALFORMED


def why_of(content: bytes, error: orjson.JSONDecodeError) -> str:
    """Return the fault of bytes that are not JSON; Python writes missing numbers in a way that is not JSON."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as wrong:
        return f"it is not UTF-8 text: byte {content[wrong.start]:#04x} at position {wrong.start}"

    if has_several(content):
        return f"{error}; it holds more than one object, write a line for each"
    constant = NOT_JSON.search(STRING.sub(b'""', content))
    if constant:
        return f"{error}; {constant[1].decode()} is no JSON, write null"
    return str(error)


def from_objects(
    objects: Sequence[Any],
    numbers: Sequence[int],
    raws: Sequence[bytes],
    source: str,
    limits: Limits,
    problems: Sequence[Problem] = (),
) -> Block:
    """Convert decoded JSON values, which should be objects with a text, to typed records.

    Args:
        objects: The values, with their line (or record) *numbers* and bytes *raws*.
        problems: Problems already found in this stretch.
    """
    if limits.renamed:
        objects = [unwrap(value) for value in objects]

    objects, names = _with_our_names(objects, limits)
    all_problems = list(problems)
    are_records = set(map(type, objects)) <= {dict}
    columns = {}
    if are_records:
        columns = _columns(objects, limits.fields)

    kinds = _kinds_of(columns)
    if not columns or are_wrapped(kinds):
        objects, names = _with_our_names([unwrap(value) for value in objects], limits)
        columns = {}
        if are_records:
            columns = _columns(objects, limits.fields)

        kinds = _kinds_of(columns)

    if not _are_usual(kinds):
        labelled = LABEL in limits.fields
        misfits = {
            row: why for row, value in enumerate(objects) if (why := _misfit(value, labelled))
        }
        all_problems += [Problem(numbers[row], *why, raws[row]) for row, why in misfits.items()]
        objects, numbers, raws = (_without(misfits, some) for some in (objects, numbers, raws))
        columns = _columns(objects, limits.fields)
        kinds = _kinds_of(columns)

    if LABEL in columns:  # a truth value is written as in JSON
        columns[LABEL] = [
            str(value).lower() if isinstance(value, bool) else value for value in columns[LABEL]
        ]
        kinds[LABEL] = set(map(type, columns[LABEL]))

    columns |= {
        name: _as_text(values, kinds[name]) for name, values in columns.items() if name != "text"
    }
    loose = pl.DataFrame(columns, schema=dict.fromkeys(limits.fields, pl.String))
    loose = loose.with_columns(pl.Series("line", numbers, dtype=pl.Int64))
    return convert(loose, source, lambda row: raws[row], limits, all_problems, names)


def _with_our_names(objects: Sequence[Any], limits: Limits) -> tuple[Sequence[Any], frozenset[str]]:
    """Return JSON values with our names of the fields, and all names of fields as the file has them."""
    are_records = set(map(type, objects)) <= {dict}
    records = objects
    if not are_records:
        records = [one for one in objects if isinstance(one, dict)]

    names: frozenset[str] = frozenset().union(*records)
    if limits.renamed:
        objects = [our_record(value, limits.renamed) for value in objects]
    if not names <= KNOWN_NAMES and (spellings := spellings_of(names, limits.renamed)):
        objects = [respelt(value, spellings) for value in objects]
    return objects, names


def _columns(records: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Sequence[Any]]:
    """Return the values of each field; None where a record lacks it."""
    usual = [name for name in names if records and name in records[0]]
    columns: dict[str, Sequence[Any]] = {}
    if len(usual) > 1:
        # All values of a record at once, if it has the fields of the first one.
        take = itemgetter(*usual)
        rows = []
        for record in records:
            try:
                rows.append(take(record))
            except KeyError:
                rows.append(tuple(map(record.get, usual)))
        columns = dict(zip(usual, zip(*rows, strict=True), strict=True))

    in_order = {}
    for name in names:
        if name in columns:
            in_order[name] = columns[name]
        else:
            in_order[name] = [record.get(name) for record in records]

    return in_order


def _kinds_of(columns: Mapping[str, Sequence[Any]]) -> dict[str, set[type]]:
    """Return the types of the values of each column."""
    return {name: set(map(type, values)) for name, values in columns.items()}


def _as_text(values: Sequence[Any], kinds: set[type]) -> Sequence[str | None]:
    """Return values, which are of these kinds, as strings."""
    if kinds <= {str, type(None)}:
        return values
    if kinds == {int} or (kinds == {float} and 0.0 not in values):  # 0.0 equals -0.0
        written = {value: str(value) for value in set(values)}
        return list(map(written.__getitem__, values))
    return [value if value is None or type(value) is str else str(value) for value in values]


def _are_usual(kinds: Mapping[str, set[type]]) -> bool:
    """Return whether no value of columns with these types can make its record a misfit; False if they are not known."""
    simple: dict[str, set[type]] = {"text": {str}, LABEL: {str, int, float, bool}}
    return bool(kinds) and all(
        kinds[name] <= simple.get(name, {str, int, float}) | {type(None)}
        for name in ("text", *IDS, LABEL)
        if name in kinds
    )


def _misfit(value: Any, labelled: bool) -> tuple[Reason, str] | None:
    """Return the reason and detail if a value is not a usable record, otherwise None."""
    if not isinstance(value, dict):
        return Reason.NOT_A_RECORD, f"a JSON {type(value).__name__}, not an object"

    text = value.get("text")
    if text is not None and not isinstance(text, str):
        return Reason.WRONG_TYPE, f"'text' is of type {type(text).__name__}"

    for name in IDS:
        if isinstance(value.get(name), dict | list | bool):
            return Reason.WRONG_TYPE, f"'{name}' is of type {type(value[name]).__name__}"

    label = None
    if labelled:
        label = value.get(LABEL)

    if isinstance(label, list | dict):
        return Reason.WRONG_TYPE, f"the label is of type {type(label).__name__}"

    return None


def read_array(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """Yield the records of a JSON array, or of objects one after another; several arrays in a row are read as one.

    Raises:
        Unreadable: The array ends before its closing bracket, so the elements after that place cannot be separated; or
            the first element is a whole table.
        MissingColumn: The first block has objects, and none of them has a text.
    """
    yield from _read_elements(_elements(stream, source, limits), source, limits)


def read_contained(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[Block]:
    """Yield the records of the arrays that stand in objects, as `corpus.reading.wrappings.CONTAINERS` says.

    An object without such an array is a record of its own. Errors as of `read_array`.
    """
    yield from _read_elements(_contained_elements(stream, source, limits), source, limits)


def _read_elements(elements: Iterator[bytes], source: str, limits: Limits) -> Iterator[Block]:
    number = 1
    while raws := _take_elements(elements, limits.block_bytes):
        if number == 1:
            _require_reviews(raws, source, limits)
        yield decode_records(raws, range(number, number + len(raws)), [], source, limits)
        number += len(raws)


def _take_elements(elements: Iterator[bytes], most: int) -> list[bytes]:
    """Return the elements of the next block, of *most* bytes or a little more."""
    raws = list[bytes]()
    size = 0
    for raw in elements:
        raws.append(raw)
        size += len(raw)
        if size >= most or len(raws) == RECORDS_PER_BLOCK:
            break
    return raws


def _require_reviews(raws: Sequence[bytes], source: str, limits: Limits) -> None:
    values = [_loads(raw) for raw in raws]
    if all(isinstance(value, list) for value in values):
        raise rows_without_names(values, source, lines=False)
    require_no_table(raws[0].replace(b"\n", b" "), source)
    require_known(values, source, limits)


def _elements(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[bytes]:
    """Yield the elements of the arrays in *stream*, and the objects between them; last what follows and is neither."""
    tokens = _Tokens(stream, source, limits)
    depth = 0
    while token := tokens.next():
        before = tokens.place - len(token)
        if depth:
            depth += DEPTH.get(token, 0)
            if not depth:
                yield tokens.take_until(tokens.place)
        elif token in (b"[", b"{") and GAP.fullmatch(tokens.buffer, tokens.start, before):
            depth = int(token == b"{")
            tokens.start = before if depth else tokens.place
            if not depth:
                yield from _array_elements(tokens)
        else:
            break

    if depth:
        raise tokens.cut_off("a closing bracket is missing")

    yield from tokens.rest()


def _array_elements(tokens: _Tokens) -> Iterator[bytes]:
    """Yield the elements of an array whose opening bracket has been passed, and pass its closing one."""
    depth = 0
    while token := tokens.next():
        if depth:
            depth += DEPTH.get(token, 0)
            continue
        depth = int(token in (b"[", b"{"))
        if token == b"}":
            raise tokens.cut_off("a closing brace without an opening one")
        if token in (b",", b"]"):
            if raw := tokens.take_until(tokens.place - len(token)).strip(BLANK):
                yield raw
            tokens.start = tokens.place
        if token == b"]":
            return

    raise tokens.cut_off("a closing bracket is missing")


def _contained_elements(stream: io.BufferedReader, source: str, limits: Limits) -> Iterator[bytes]:
    """Yield the elements of arrays in objects, and each object that holds no such array; last what follows."""
    tokens = _Tokens(stream, source, limits)
    position = Position()
    found = False
    while token := tokens.next():
        position.pass_over(token)
        if position.opens_records(token):
            found = True
            tokens.start = tokens.place
            yield from _array_elements(tokens)
            position.pass_over(b"]")
        if found:
            tokens.start = tokens.place
        if not position.open:
            if not found:
                yield tokens.take_until(tokens.place).strip(BLANK)
            found = False
            tokens.start = tokens.place

    if position.open:
        raise tokens.cut_off("a closing bracket is missing")

    yield from tokens.rest()


class _Tokens:
    """The tokens (signs and strings) of a JSON text, in a buffer that is filled as far as needed.

    *start* is the place in the buffer of the first byte that is still needed, *place* the one to go on from.
    """

    def __init__(self, stream: io.BufferedReader, source: str, limits: Limits) -> None:
        self.stream = stream
        self.source = source
        self.limits = limits
        self.buffer = b""
        self.start = self.place = self.number = 0

    def next(self) -> bytes:
        """Go past the next token and return it; empty at the end."""
        while True:
            sign = SIGN.search(self.buffer, self.place)
            if sign is not None and sign[0] != b'"':
                self.place = sign.end()
                return sign[0]
            if sign:
                self.place = sign.start()
            else:
                self.place = len(self.buffer)

            if len(self.buffer) - self.start > self.limits.max_record_bytes:
                raise Unreadable(
                    "An element of the JSON is too long",
                    where=f"{self.source}, record {self.number + 1}",
                    value=f"over {self.limits.max_record_bytes} bytes",
                    cause="a quote or a bracket is missing, so the elements after it cannot be separated",
                    remedy="correct the file, or raise source.max_record_bytes",
                )
            more = self.stream.read(self.limits.block_bytes)
            if not more:
                return b""
            self.buffer = self.buffer[self.start :] + more
            self.start, self.place = 0, self.place - self.start

    def take_until(self, end: int) -> bytes:
        """Return the bytes up to a place, which are not needed any more."""
        raw = self.buffer[self.start : end]
        self.start = end
        self.number += 1
        return raw

    def rest(self) -> Iterator[bytes]:
        """Yield the bytes after the last element, which are no element."""
        if rest := self.buffer[self.start :].strip():
            yield rest[:RAW_BYTES]

    def cut_off(self, cause: str) -> Unreadable:
        """Return the error for a text that does not go on as it must."""
        return Unreadable(
            "The JSON is damaged or was cut off",
            where=self.source,
            value=f"{self.number} records were read before the damage",
            cause=cause,
            remedy="fetch or copy the file again; none of its records were kept",
        )
