"""Say how to install an extra of `pyproject.toml`, and refuse what needs one that is missing."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from reviewlm.core.errors import ConfigError
from reviewlm.core.provenance import CHECKOUT


def install_command(extra: str = "") -> str:
    """Return the command that installs an extra; "": the packages that all need.

    In a checkout the versions are those that the project pins.
    """
    extras = f"[{extra}]" if extra else ""
    if CHECKOUT is None:
        return f"pip install 'reviewlm{extras}'"
    return f"pip install -c constraints.txt -e '.{extras}'"


def require_library(
    library: str,
    extra: str,
    purpose: str,
    **about: Any,
) -> None:
    """Refuse to go on without a library, before any work is done.

    Args:
        library: Name by which it is imported.
        extra: Extra of `pyproject.toml` that has it.
        purpose: Beginning of the message: what needs the library.
        about: Where and value of the error.

    Raises:
        ConfigError: It is not installed; names the command.
    """
    if find_spec(library) is None:
        raise ConfigError(
            f"{purpose}: {library} is not installed", remedy=install_command(extra), **about
        )


def require_gensim() -> None:
    """Refuse to fit or read word vectors where gensim is missing; errors as for `require_library`."""
    require_library("gensim", "vectors", "Word vectors are fitted and read with gensim")
