"""Validate names of models, vocabularies, registered models and presets.

A name becomes a file's name, part of an address, a cell of a table and a line on a terminal. So one rule applies to
all names, from any source: settings, a recorded configuration, a bundle, an argument.
"""

from __future__ import annotations

FORBIDDEN = "/\\:@'\"`*?<>|"
"""Separators of paths and addresses, quotes (MLflow's filters cannot escape them), and signs that Windows forbids."""
LONGEST = 100
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
"""Device names on Windows, reserved also with a suffix."""


def require_name(name: str, field: str = "name") -> str:
    """Return *name* if it is valid; otherwise raise ValueError that says what is wrong with it.

    Args:
        field: Name of the option, for the message.
    """
    if fault := _fault(name):
        shown = name if len(name) <= LONGEST else f"{name[:20]}…"
        raise ValueError(f"{field} is {shown!r}; {fault}")
    return name


def _fault(name: str) -> str:
    if not name.strip():
        return "a name is needed"
    if len(name) > LONGEST or len(name.encode("utf-8", "surrogatepass")) > 2 * LONGEST:
        return f"it has {len(name)} characters; a name has at most {LONGEST} ({2 * LONGEST} bytes)"
    if unfit := sorted({sign for sign in name if sign in FORBIDDEN or not sign.isprintable()}):
        return f"a name must not contain {' '.join(map(repr, unfit))}"
    if not (name[0].isalnum() or name[0] == "_"):
        return "a name must begin with a letter, a digit or '_'"
    if name[-1] in " .":
        return "a name must not end with a space or a full stop"
    if name.partition(".")[0].lower() in RESERVED:
        return "this name is reserved on Windows"
    return ""


def as_name(text: str, otherwise: str) -> str:
    """Turn *text*, for example a file's name, into a valid name: forbidden characters become "_".

    Args:
        otherwise: The name to return if the result is empty or still not valid.
    """
    fit = "".join("_" if sign in FORBIDDEN or not sign.isprintable() else sign for sign in text)
    cut = fit.encode()[:LONGEST].decode("utf-8", "ignore").lstrip(" .+-=#~&").rstrip(" .")
    return cut if cut and not _fault(cut) else otherwise
