"""Define the error tree with its exit codes, convert errors of `models` and of the disk, and show values safely.

A refused promotion is no error.
"""

from __future__ import annotations

import difflib
import errno
import html
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reviewlm.models.base import ModelError

_WORD = re.compile(r"(?:(?![\"'][,:}\])])\S)+")
"""What stands between spaces, and between the quotes of JSON."""
_LOGIN = re.compile(r"://(?!\[)[^/:]*:(?!\d{1,5}[/?#])")
"""From the scheme to where a password begins: no colon of IPv6, and none before a port with a path."""
SHOWN_CHARACTERS = 200
"""Number of characters shown of an offending value."""
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters except tab and line feed
    r"\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # direction, invisible, line separators
    r"\ud800-\udfff\U000e0000-\U000e007f]"  # halves of characters; tags
)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
ANOTHER_PLACE = "name another place"
MOVE = "move the store with REVIEWLM_HOME; a rerun reuses what is finished"
TO_UTF8 = "convert the file to UTF-8, e.g. from Latin-1: iconv -f LATIN1 -t UTF-8 FILE"
WORDS = {
    "disk is full": errno.ENOSPC,
    "No space left": errno.ENOSPC,
    "quota exceeded": errno.EDQUOT,
    "readonly database": errno.EROFS,
    "unable to open database file": errno.EACCES,
    "Read-only file": errno.EROFS,
    "[Errno 13]": errno.EACCES,
    "disk I/O error": errno.EIO,
}
"""Words of SQLite and of the operating system where the disk refuses, and what they mean."""


class ReviewLMError(Exception):
    """Base of all errors that a user can act on.

    Args:
        what: What went wrong, as one sentence without its full stop.
        where: File, line, field or setting.
        value: The offending value (shortened to 200 characters when shown).
        cause: The likely cause.
        remedy: What to do about it.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | Path = "",
        value: object = None,
        cause: str = "",
        remedy: str = "",
    ) -> None:
        self.what = what
        self.where = str(where)
        self.value = value
        self.cause = cause
        self.remedy = remedy
        parts = self.to_dict()
        given = {}
        for name in ("where", "value", "cause", "remedy"):
            if parts[name] not in ("", None):
                given[name] = parts[name]

        lines = [parts["what"], *(f"  {name + ':':<8}{text}" for name, text in given.items())]
        super().__init__(visible("\n".join(lines)))

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON values: the text that the user sees, without secrets."""
        value = None
        if self.value is not None:
            value = without_password(_text_of(self.value))[:SHOWN_CHARACTERS]

        described: dict[str, Any] = {"kind": type(self).__name__}
        described["what"] = without_password(self.what)
        described["where"] = without_password(self.where)
        described["value"] = value
        described["cause"] = without_password(self.cause)
        described["remedy"] = without_password(self.remedy)
        described["exit_code"] = self.exit_code
        return described

    def __reduce__(self) -> tuple[object, ...]:
        """Support pickling between processes: subclasses have other arguments than the message."""
        return type(self).__new__, (type(self), *self.args), self.__dict__


def _text_of(value: object) -> str:
    """Return a value as text, even if `str` fails: numbers of thousands of digits, endless nesting."""
    try:
        return str(value)
    except (ValueError, RecursionError):
        return f"a value of type {type(value).__name__} that is too large to be shown"


def without_password(text: str) -> str:
    """Return a text in which passwords in addresses ("scheme://user:password@host") are replaced by stars.

    A password may contain "@" and "/": it ends at the last "@" of the word, unless it begins like a port and a path.
    """
    return _WORD.sub(_mask_password, text)


def _mask_password(word: re.Match[str]) -> str:
    address = word[0]
    end = word[0].rfind("@")
    begin = next((login.end() for login in _LOGIN.finditer(address)), end)
    if begin < end:
        return f"{address[:begin]}***{address[end:]}"
    return address


def without_secrets(text: str) -> str:
    """Return a text with stars for passwords in addresses and for values named password, token, secret or key."""
    named = r"(?i)((?:password|passwd|auth_string|(?<![a-z])token|secret|api_key|access_key)[\"']?\s*[=:]\s*[\"']?)"
    return re.sub(named + r"[^\s\"'&,;)]+", r"\1***", without_password(text))


class ConfigError(ReviewLMError):
    """A setting is unknown, of the wrong type or out of range."""

    exit_code = 2


class UsageError(ConfigError):
    """The command line cannot be parsed; shown in the parser's own words, with the usage of the command."""

    def __init__(self, error: Any, show: Callable[[], object]) -> None:
        context = getattr(error, "ctx", None)
        verb = context.command_path if context is not None else "reviewlm"
        super().__init__(error.format_message(), where=verb, remedy=f"{verb} --help")
        self.show = show


class InputError(ReviewLMError):
    """The given data cannot be used."""

    exit_code = 3


class EmptyInput(InputError):
    """There is nothing to read, or nothing is left after reading."""


class Unreadable(InputError):
    """The input is truncated, has the wrong format or encoding, or does not exist."""


class MissingColumn(InputError):
    """A needed field is absent."""


class CheckFailed(ReviewLMError):
    """A critical expectation failed. `report` is the path of its Data Docs page."""

    exit_code = 4

    def __init__(
        self,
        what: str,
        *,
        report: str | Path = "",
        where: str | Path = "",
        remedy: str = "",
    ) -> None:
        super().__init__(what, where=where or report, remedy=remedy)
        self.report = str(report)


class ArtifactError(ReviewLMError):
    """The store cannot hold or give back an artifact."""

    exit_code = 5


class Damaged(ArtifactError):
    """An artifact differs from its manifest."""


class NotReproduced(ArtifactError):
    """A version that was made again from the same raw files came out differently."""


class StoreFull(ArtifactError):
    """No space is left on the disk."""


class NotWritable(ArtifactError):
    """The disk is read-only, or the permission is missing."""


class FitError(ReviewLMError):
    """Training failed."""

    exit_code = 6


class Diverged(FitError):
    """The loss is not a finite number."""


class OutOfMemory(FitError):
    """The device does not have enough memory."""


class RankFailed(FitError):
    """A training process of a fit with several processes died."""


class RanksLost(RankFailed):
    """The training processes lost each other; which one died, and of what, is known elsewhere."""


class BundleError(ReviewLMError):
    """A saved model cannot be opened, or answers differently from when it was saved."""

    exit_code = 7


class TrackingUnavailable(ReviewLMError):
    """MLflow cannot be reached; trying again may help."""

    exit_code = 8


class NotAuthorized(TrackingUnavailable):
    """MLflow rejects the credentials: a person must correct them. Queued writes are kept until then."""


class ClusterFailed(ReviewLMError):
    """The cluster does not answer or lost workers, or a run was cancelled; the same command may work later."""

    exit_code = 9


class Crash(ReviewLMError):
    """An unexpected exception: a defect of this program or of a library."""

    exit_code = 70

    def __init__(self, cause: str, log: Path | None) -> None:
        super().__init__(
            "The command failed with an unexpected error",
            where=log or "",
            cause=cause,
            remedy="please report it with the file named above: it has the traceback and all versions"
            if log
            else "",
        )


class OutputClosed(ReviewLMError):
    """The reader of standard output has closed it, e.g. `reviewlm history | head -1`."""

    exit_code = 141


def disk_error(
    number: int | None,
    where: str | Path,
    cause: str,
    elsewhere: str = ANOTHER_PLACE,
) -> ArtifactError:
    """Return an error number of the operating system, met while something is written, as StoreFull or NotWritable.

    Args:
        number: The number, if there is one.
        where: The file or folder that is written to.
        cause: The system's message.
        elsewhere: Advice for the user how to write elsewhere.
    """
    kind: type[ArtifactError] = NotWritable
    what = "This place cannot be written to"
    first = "check the path and its permissions"
    if number in FULL:
        kind = StoreFull
        what = "No space is left on the disk"
        first = "free some space"

    return kind(
        what,
        where=where,
        cause=cause,
        remedy=f"{first}, or {elsewhere}",
    )


def disk_error_in(messages: Iterable[str], where: str | Path) -> ArtifactError | None:
    """Return an error about the disk if a message of a library is about it, else None."""
    found = (
        (number, message)
        for message in messages
        for words, number in WORDS.items()
        if words in message
    )
    return next((disk_error(number, where, message) for number, message in found), None)


@contextmanager
def disk_errors(where: str | Path, elsewhere: str = MOVE) -> Iterator[None]:
    """Turn the operating system's disk errors into those of `disk_error`, which names the folder that is written to."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL + REFUSED:
            raise
        raise disk_error(error.errno, where, str(error), elsewhere) from error


def nearest(name: str, choices: Sequence[str]) -> str:
    """Return "did you mean 'CHOICE'? " with the choice that is most like a name, "" if none is."""
    return "".join(
        f"did you mean '{one}'? " for one in difflib.get_close_matches(name, choices, n=1)
    )


def visible(text: str) -> str:
    """Return the text with an escape for every character that a terminal obeys instead of showing it.

    The text of a review, the name of a file or the value in an error may contain sequences that move the cursor, set the
    title of the window, or reverse the reading direction (`\\x1b`, `\\u202e`), so that a line seems to say something else.
    """
    return _UNSEEN.sub(lambda match: _escape(ord(match[0])), text)


def as_html(text: str) -> str:
    """Return the visible text escaped for HTML, also for quoted attributes."""
    return html.escape(visible(text))


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    if code < 0x10000:
        return f"\\u{code:04x}"
    return f"\\U{code:08x}"


ERROR_TYPES: dict[str, type[ReviewLMError]] = {
    "fit": FitError,
    "diverged": Diverged,
    "memory": OutOfMemory,
    "bundle": BundleError,
    "input": InputError,
}


@contextmanager
def converted_errors(where: str | Path = "") -> Iterator[None]:
    """Convert a `ModelError` raised in the block into the project's error for it, with *where* as its place."""
    try:
        yield
    except ModelError as error:
        if error.kind == "disk":
            raise disk_error(getattr(error.__cause__, "errno", None), where, str(error)) from error
        raise ERROR_TYPES.get(error.kind, FitError)(str(error), where=where) from error
