"""Recognise inputs that other programs wrote and that are no files of reviews: say what each is, and what to do.

Each table has one row for each kind of input. A row names what the bytes, the file's name or the library's error look
like, what the input is, and the command that makes it readable. `corpus.reading.wrappings` has the shapes that a rule
suffices to read.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from reviewlm.core.errors import InputError, MissingColumn, Unreadable
from reviewlm.models.text.foreign_files import foreign_file

ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/+)([^?#]*)")
"""An address, also as `pathlib` writes it: with one slash."""
FETCH = {
    "s3": "aws s3 cp --recursive s3://{} reviews",
    "s3a": "aws s3 cp --recursive s3://{} reviews",
    "gs": "gcloud storage cp --recursive gs://{} reviews",
    "hdfs": "hdfs dfs -get hdfs://{} reviews",
    "hf": "hf download --repo-type dataset OWNER/NAME --local-dir reviews",
    "az": "azcopy copy ADDRESS reviews --recursive",
    "abfs": "azcopy copy ADDRESS reviews --recursive",
    "abfss": "azcopy copy ADDRESS reviews --recursive",
    "http": "curl -L --output-dir reviews --create-dirs -O 'http://{}'",
    "https": "curl -L --output-dir reviews --create-dirs -O 'https://{}'",
    "ftp": "curl -L --output-dir reviews --create-dirs -O 'ftp://{}'",
}
"""Commands that fetch what is at an address into the folder `reviews`, by its scheme."""

Known = tuple[str, str]
"""What a file is, and what to do."""

_TO_CSV = "save the table as CSV"
FOREIGN_TEXTS: dict[bytes, Known] = {
    rb"(?i)<\?xml": ("a document of XML", "write one JSON object or one row of CSV a review"),
    rb"\{'[^\n]*\n\{'": (
        "in lines of Python's dictionaries",
        'zcat -f FILE | python3 -c "import ast, json, sys; '
        '[print(json.dumps(ast.literal_eval(line))) for line in sys.stdin]" > reviews.jsonl',
    ),
    rb'"\{\\"[^\n]*\n"\{\\"': (
        "in lines of texts that hold JSON",
        "zcat -f FILE | jq -c fromjson > reviews.jsonl",
    ),
    rb"[A-Za-z]+/[A-Za-z]+: [^\n]*\n[A-Za-z]+/[A-Za-z]+: ": (
        "in the form of SNAP's data sets, with a line for each field",
        "zcat -f FILE | python3 -c \"import json, sys; sys.stdin.reconfigure(encoding='latin-1'); "
        "[print(json.dumps(dict(line.split(': ', 1) for line in record.splitlines() if ': ' in line))) "
        "for record in sys.stdin.read().split('\\n\\n') if record.strip()]\" > reviews.jsonl; "
        "then --set source.fields.text=review/text --set source.fields.stars=review/score "
        "--set source.fields.date=review/time --set source.fields.user_id=review/userId",
    ),
}
"""Patterns of the first bytes of texts that hold reviews in a form that is not read.

Files that are no texts are in `reviewlm.models.text.foreign_files`."""
INSIDE_ZIP: dict[str, Known] = {
    r"xl/workbook\.(xml|bin)": ("a workbook of Excel", _TO_CSV),
    r"word/document\.xml": ("a document of Word", "write one review a line, as plain text"),
    r"content\.xml": ("a document of LibreOffice", _TO_CSV),
}
"""Patterns of members of a zip that is no archive of files."""
OTHER_SUFFIXES = frozenset(
    (
        ".7z",
        ".rar",
        ".lz4",
        ".sz",
        ".z",
        ".lz",
        ".xlsx",
        ".xlsm",
        ".xlsb",
        ".xls",
        ".ods",
        ".arrow",
        ".feather",
        ".avro",
        ".orc",
        ".h5",
        ".hdf5",
        ".pkl",
        ".pickle",
        ".rds",
        ".rdata",
        ".sav",
        ".bson",
        ".db",
        ".sqlite",
        ".sqlite3",
    )
)
"""Endings of files that may hold reviews in a form that is not read."""
ARROW_OF_DATASETS = re.compile(r"(.*/)?(data-\d{5}-of-\d{5}|dataset)\.arrow")
"""Files of a data set that the library `datasets` has saved."""

FOLLOWED = "other bytes follow the compressed stream"
"""Error of a stream that is not the last in its file."""
_APPENDED = (
    "After the compressed part of the file come bytes that are not compressed",
    "a plain file was appended to a packed one; programs that unpack it would lose the rest",
    "pack each file apart and name both, or append packed files only: cat a.gz b.gz",
)
CAUSES: dict[str, tuple[str, str, str]] = {
    rf"Not a gzipped file|Unknown frame descriptor|{FOLLOWED}": _APPENDED,
    r"Frame requires too much memory": (
        "The file was compressed with a longer window than is read",
        "zstd --long: its window has more than 128 MiB",
        "unpack it: zstd -d --long=31 FILE",
    ),
}
"""Patterns of messages of unpacking libraries: what happened, the cause, what to do."""

LONGEST_NAME = 100
"""Characters of the longest name of a column: some are whole questions. What is longer is a text."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d\d?[-/.]\d\d?[-/.]\d{4}")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
CUT = "cut it into lines, one document each: fold -s -w 2000 FILE > documents.txt"


def command_for(source: str, command: str) -> str:
    """Return the command line that sends the content of a file, packed with gzip or not, through a command."""
    if source.lower().endswith((".gz", ".tgz")):
        return f"zcat {shlex.quote(source)} | {command}"
    return f"{command} < {shlex.quote(source)}"


def require_no_address(given: str | Path) -> None:
    """Refuse an input that is an address and not a path.

    Raises:
        Unreadable: It has the command that fetches the files. The query, which may hold a signature, is not shown.
    """
    found = ADDRESS.match(str(given))
    if not found or Path(given).exists():
        return

    scheme = found[1].lower()
    rest = found[3]
    if len(found[2]) == 1 and scheme not in FETCH:
        return

    if scheme == "file":
        remedy = f"name the path: --input /{rest}"
    else:
        fetch = FETCH.get(scheme, "").format(rest.rpartition("@")[2])
        remedy = f"fetch the files first, then --input reviews: {fetch}" if fetch else ""

    raise Unreadable(
        "The input is an address; files are read from disks only",
        where=f"{found[1]}://{rest}",
        cause="a run hashes and reads its files more than once, also long after",
        remedy=remedy or "copy the files to a disk, and name them",
    )


def require_no_stand_in(head: bytes, source: str) -> None:
    """Refuse a file whose first bytes are those of something else than reviews.

    Raises:
        Unreadable: It says what the file is, and what to do.
    """
    known = _known_by(head)
    if known is not None:
        raise Unreadable(
            f"The file is {known[0]}, not the reviews",
            where=source,
            value=head[:60],
            remedy=known[1].replace("FILE", shlex.quote(source)),
        )


def _known_by(head: bytes) -> Known | None:
    """Return the kind of a file and its remedy by its first bytes; None if they are not known."""
    kind = foreign_file(head)
    if kind is not None:
        return kind.what, kind.remedy
    for pattern, known in FOREIGN_TEXTS.items():
        if re.match(pattern, head, re.DOTALL):
            return known
    return None


def find_unread(paths: Iterable[Path]) -> Iterator[tuple[Path, Known]]:
    """Yield the files of a form that may hold reviews but is not read, each with its kind."""
    for path in paths:
        suffix = path.suffix.lower()
        if suffix not in OTHER_SUFFIXES or path.name.startswith((".", "_", "~$")):
            continue
        if suffix in (".xlsx", ".xlsm", ".xlsb", ".ods"):
            yield path, ("a workbook", _TO_CSV)
            continue
        with path.open("rb") as file:
            known = _known_by(file.read(512))
        if known is not None:
            yield path, (known[0], known[1].replace("FILE", shlex.quote(str(path))))


def require_no_arrow(where: str, names: Iterable[str]) -> None:
    """Refuse a folder in which the library `datasets` has saved a data set.

    Raises:
        Unreadable: It has the call that writes the reviews.
    """
    if any(ARROW_OF_DATASETS.fullmatch(name) for name in names):
        raise Unreadable(
            "The folder is a data set of Hugging Face's library `datasets`, in Arrow's own format",
            where=where,
            remedy='python -c "import datasets; '
            f"datasets.load_from_disk('{where}').to_parquet('reviews.parquet')\"",
        )


def require_files_in_zip(members: Iterable[str], source: str) -> None:
    """Refuse a zip that is a document of an office program.

    Raises:
        Unreadable: It says which.
    """
    for name in members:
        for pattern, (what, remedy) in INSIDE_ZIP.items():
            if re.fullmatch(pattern, name):
                raise Unreadable(
                    f"The file is {what}, not the reviews", where=source, remedy=remedy
                )


def explain(message: str, source: str | Path) -> Unreadable | None:
    """Return the error for a message of an unpacking library that says no damage; None for all others."""
    for pattern, (what, cause, remedy) in CAUSES.items():
        if re.search(pattern, message):
            remedy = remedy.replace("FILE", str(source))
            return Unreadable(
                what,
                where=source,
                cause=cause,
                remedy=remedy,
            )
    return None


def looks_like_record(columns: Sequence[str]) -> bool:
    """Return whether the first line of a table holds values and not names of columns."""
    counted = [str(number) for number in range(len(columns))]
    if list(columns) == counted or list(columns[1:]) == counted[:-1]:
        return False  # pandas numbers columns that have no names
    return any(
        len(name) > LONGEST_NAME or _DATE.match(name) or _NUMBER.fullmatch(name) for name in columns
    )


def form_of(value: str) -> str:
    """Return the kind of a field of a table, without its words."""
    if _NUMBER.fullmatch(value):
        return "a number"
    if _DATE.match(value):
        return "a date"
    if not value.strip():
        return "empty"
    if len(value) > LONGEST_NAME or " " in value.strip():
        return "a text"
    return "a word"


def no_header(
    source: str,
    columns: Sequence[str],
    delimiter: str,
) -> MissingColumn:
    """Return the error for a table whose first line is a record; no word of it is shown."""
    names = delimiter.join(["NAME", "text", "NAME"]).replace("\t", "\\t")
    forms = ", ".join(map(form_of, columns[:20]))
    return MissingColumn(
        "The table has no header: its first line is a record",
        where=source,
        value=f"{len(columns)} fields: {forms}",
        remedy="write the names of the columns into the first line, in their order: "
        f"(printf '{names}\\n'; cat {source}) > reviews.csv",
    )


def one_line(source: str, length: str = "no line end at its beginning") -> Unreadable:
    """Return the error for a corpus without line ends; *length* says how long its line is."""
    return Unreadable(
        "The file is one line, so one document, which is longer than allowed",
        where=source,
        value=length,
        cause="a corpus in one line, such as text8; documents are told apart by line ends",
        remedy=CUT.replace("FILE", source),
    )


def describe_unknown(head: bytes, source: str) -> InputError:
    """Return the error for a file without a known format: what it looks like, and how it becomes readable."""
    readable = "give JSON lines, a JSON array, CSV, Parquet, or one document a line in a .txt file"
    try:
        text = head[: head.rfind(b"\n") + 1 or len(head)].decode("utf-8")
    except UnicodeDecodeError:
        text = ""
        if b"\n" not in head:
            text = head.decode("utf-8", "ignore")

    if not text or "\0" in text:
        return Unreadable(
            "The file format is unknown",
            where=source,
            value=head[:40],
            remedy=readable,
        )

    first = text.lstrip().partition("\n")[0]
    if "\n" not in text and len(head) >= 8_000:
        return one_line(source)

    for sign, name in (("\t", "tabs"), ("|", "|"), (";", "semicolons"), (",", "commas")):
        fields = first.split(sign)
        if len(fields) > 1 and all(
            line.count(sign) == len(fields) - 1 for line in text.splitlines()[:5]
        ):
            if looks_like_record(fields):
                return no_header(source, fields, sign)
            return Unreadable(
                f"The file format is unknown: lines of {len(fields)} fields between {name}",
                where=source,
                value=first[:40],
                remedy="if this is a table, name its columns in its first line and end its name in .csv",
            )

    return Unreadable(
        "The file format is unknown: it is plain text",
        where=source,
        value=head[:40],
        remedy=f"if each line is a document, end its name in .txt; otherwise {readable}",
    )
