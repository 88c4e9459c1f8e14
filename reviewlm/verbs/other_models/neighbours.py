"""Define the command that shows the nearest words of a word, and solves analogies."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError
from reviewlm import terminal
from reviewlm.early_checks import require_file
from reviewlm.options import Json, Preset, Set, checked, configured

if TYPE_CHECKING:
    from core.config.run_config import RunConfig
    from models.vectors.word_vectors import Neighbour, WordVectors

app = typer.Typer()
VERSION = re.compile(r"champion|challenger|previous|\d+|(models:/)?[^/@:]+(@[^/@]+|/\d+)")
"""Forms of a reference to a registered version; a path that exists comes first."""
VECTORS_HELP = (
    "File of word2vec, GloVe or fastText, folder of `embed`, or a registered version: champion, a number, NAME@ALIAS "
    "or NAME/3. Default: the newest stored ones."
)


@app.command()
def neighbours(
    words: Annotated[list[str] | None, typer.Argument(help="Words whose nearest words are shown.")] = None,
    analogy: Annotated[tuple[str, str, str] | None, typer.Option(
        "--analogy", metavar="A B C", help="Solve: A is to B as C is to ?",
    )] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of words to show.")] = 10,
    vectors: Annotated[str, typer.Option("--vectors", metavar="PATH|VERSION", help=VECTORS_HELP)] = "",
    preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:  # fmt: skip
    """Show the words with the nearest vectors, by cosine."""
    if not words and analogy is None:
        raise ConfigError("No word was given", where="neighbours", remedy="name a word, or three with --analogy A B C")
    from models.vectors.word_vectors import ALIKE

    place = vectors_at(vectors, lambda: configured(preset, set))
    opened = _read(place)
    if (alike := opened.mean_cosine) > ALIKE:
        terminal.show_warnings([f"Two words have a cosine of {alike:.2f} on average, so neighbours say little: the "
                                "training was short, or had few texts."])  # fmt: skip
    found = {word: checked(lambda: opened.neighbours(word, n)) for word in words or []}  # noqa: B023
    for word, near in found.items():
        _show(f"Nearest to '{word}'", near)
    result: dict[str, Any] = {"vectors": str(place), "words": len(opened), "dimensions": opened.dimensions,
                              "mean_cosine": round(alike, 6),
                              "neighbours": {word: _plain(near) for word, near in found.items()}}  # fmt: skip
    if analogy is not None:
        answers = checked(lambda: opened.analogy(*analogy, n))
        _show(f"'{analogy[0]}' is to '{analogy[1]}' as '{analogy[2]}' is to", answers)
        result["analogy"] = {"given": list(analogy), "answers": _plain(answers)}
    terminal.last_line(result, json)


def vectors_at(named: str, config: Callable[[], RunConfig]) -> Path:
    """Return file or folder of word vectors: a path, a registered version, or for "" the newest stored ones.

    Args:
        named: As the user gave it.
        config: Returns the configuration; not called for a path that exists.

    Raises:
        ArtifactError: None are named, and the store has none.
        BundleError: No such version is registered.
        Unreadable: There is no such file.
    """
    if not named:
        from tasks.embedding.embed import newest_vectors

        return newest_vectors(config())
    if VERSION.fullmatch(named) and not Path(named).exists():
        from tracking.logged_models.opening import find_vectors

        return find_vectors(config(), named).folder
    require_file(Path(named), "--vectors")
    return Path(named)


def _read(place: Path) -> WordVectors:
    from models.vectors.formats.files import read_vectors

    return checked(lambda: read_vectors(place))


def _show(title: str, near: Sequence[Neighbour]) -> None:
    terminal.show_rows([{"word": one.word, "cosine": f"{one.cosine:.3f}"} for one in near], title)


def _plain(near: Sequence[Neighbour]) -> list[dict[str, Any]]:
    return [{"word": one.word, "cosine": round(one.cosine, 6)} for one in near]
