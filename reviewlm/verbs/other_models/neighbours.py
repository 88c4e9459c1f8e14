"""Define the command that shows the nearest words of a word, and solves analogies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError
from reviewlm import terminal
from reviewlm.options import Json, Preset, Set, checked, configured

if TYPE_CHECKING:
    from models.vectors.word_vectors import Neighbour, WordVectors

app = typer.Typer()


@app.command()
def neighbours(
    words: Annotated[list[str] | None, typer.Argument(help="Words whose nearest words are shown.")] = None,
    analogy: Annotated[tuple[str, str, str] | None, typer.Option(
        "--analogy", metavar="A B C", help="Solve: A is to B as C is to ?",
    )] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of words to show.")] = 10,
    vectors: Annotated[Path | None, typer.Option(
        "--vectors", help="File of word2vec, GloVe or fastText, or folder of `embed`. Default: the newest stored ones.",
    )] = None,
    preset: Preset = "small", set: Set = None, json: Json = False,
) -> None:  # fmt: skip
    """Show the words with the nearest vectors, by cosine."""
    if not words and analogy is None:
        raise ConfigError("No word was given", where="neighbours", remedy="name a word, or three with --analogy A B C")
    opened, place = _opened(vectors, preset, set)
    found = {word: checked(lambda: opened.neighbours(word, n)) for word in words or []}  # noqa: B023
    for word, near in found.items():
        _show(f"Nearest to '{word}'", near)
    result: dict[str, Any] = {"vectors": str(place), "words": len(opened), "dimensions": opened.dimensions,
                              "neighbours": {word: _plain(near) for word, near in found.items()}}  # fmt: skip
    if analogy is not None:
        answers = checked(lambda: opened.analogy(*analogy, n))
        _show(f"'{analogy[0]}' is to '{analogy[1]}' as '{analogy[2]}' is to", answers)
        result["analogy"] = {"given": list(analogy), "answers": _plain(answers)}
    terminal.last_line(result, json)


def _opened(vectors: Path | None, preset: str, overrides: list[str] | None) -> tuple[WordVectors, Path]:
    from models.vectors.formats.files import read_vectors

    if vectors is None:
        from tasks.embedding.embed import newest_vectors

        vectors = newest_vectors(configured(preset, overrides)).folder
    return checked(lambda: read_vectors(vectors)), vectors


def _show(title: str, near: Sequence[Neighbour]) -> None:
    terminal.show_rows([{"word": one.word, "cosine": f"{one.cosine:.3f}"} for one in near], title)


def _plain(near: Sequence[Neighbour]) -> list[dict[str, Any]]:
    return [{"word": one.word, "cosine": round(one.cosine, 6)} for one in near]
