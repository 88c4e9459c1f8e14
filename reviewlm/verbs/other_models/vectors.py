"""Define the commands that fit word vectors, and show the nearest words of a word or solve analogies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from reviewlm import terminal
from reviewlm.core.errors import ConfigError
from reviewlm.core.extras import require_gensim
from reviewlm.core.output import require_output
from reviewlm.flow_runs import require_file, run_flow, with_rebuild
from reviewlm.options import Input, Json, Preset, Rebuild, Set, Verbose, configure, run_checked

if TYPE_CHECKING:
    from reviewlm.core.config.run_config import RunConfig
    from reviewlm.training.vectors.neighbours import Neighbour

VECTORS_HELP = (
    "File of word2vec, GloVe or fastText, or folder of `embed`. Default: the newest stored ones."
)


VectorForm = Literal["word2vec", "binary", "glove"]


def embed(
    input: Input = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the vectors to this file.")
    ] = None,
    form: Annotated[
        VectorForm,
        typer.Option(
            "--form",
            help="Form of that file: word2vec (text, also fastText's .vec), binary (word2vec's) or glove.",
        ),
    ] = "word2vec",
    preset: Preset = "small",
    set: Set = None,
    rebuild: Rebuild = None,
    verbose: Verbose = False,
    json: Json = False,
) -> None:
    """Fit word vectors on the reviews.

    Skip-gram or CBOW: the section `embedding` has the settings.

    \b
    Examples:
      reviewlm models embed --input reviews.json
      reviewlm models embed --set embedding.kind=cbow --out vectors.vec
    """
    if out is not None:
        require_output(out)
    elif form != "word2vec":
        raise ConfigError(
            "--form has no effect without --out", where="--form", remedy="name a file: --out FILE"
        )

    result = run_flow(
        "embed",
        preset,
        input,
        with_rebuild(set, rebuild),
        _require_usable,
    )
    terminal.show_facts(result)
    if out is not None:
        result = {**result, **_write(Path(result["vectors"]), out, form)}

    terminal.say("\nNext: `reviewlm models neighbours WORD`")
    terminal.last_line(result, json)


def _require_usable(config: RunConfig) -> None:
    from reviewlm.tasks.embed import require_vocabulary

    require_gensim()
    require_vocabulary(config.vocabulary, config.embedding)


def _write(
    folder: Path,
    out: Path,
    form: VectorForm,
) -> dict[str, Any]:
    from reviewlm.training.vectors.files import load_vectors, write_vectors

    vectors = run_checked(lambda: load_vectors(folder))
    count = run_checked(lambda: write_vectors(out, vectors, form))
    left = len(vectors) - count
    terminal.say(f"Written: {count:,} words to {out}")
    if left:
        terminal.say(
            f"{left} entries with white space were left out; a network that starts from all needs {folder}"
        )

    return {
        "file": str(out),
        "form": form,
        "written": count,
        "left_out": left,
    }


def neighbours(
    words: Annotated[
        list[str] | None, typer.Argument(help="Words whose nearest words are shown.")
    ] = None,
    analogy: Annotated[
        tuple[str, str, str] | None,
        typer.Option(
            "--analogy",
            metavar="A B C",
            help="Solve: A is to B as C is to ?",
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Number of words to show.")] = 10,
    vectors: Annotated[str, typer.Option("--vectors", metavar="PATH", help=VECTORS_HELP)] = "",
    preset: Preset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Show the words with the nearest vectors, by cosine.

    \b
    Examples:
      reviewlm models neighbours delicious pizza
      reviewlm models neighbours --analogy waiter waitress he
      reviewlm models neighbours good --vectors glove.txt
    """
    if not words and analogy is None:
        raise ConfigError(
            "No word was given",
            where="neighbours",
            remedy="name a word, or three with --analogy A B C",
        )

    require_gensim()
    from reviewlm.training.vectors import neighbours as nearest
    from reviewlm.training.vectors.files import read_vectors

    if vectors:
        require_file(place := Path(vectors), "--vectors")
    else:
        from reviewlm.tasks.embed import newest_vectors

        place = newest_vectors(configure(preset, set, create=False).home)

    opened = run_checked(lambda: read_vectors(place))
    alike = nearest.mean_cosine(opened)
    if alike > nearest.ALIKE:
        warning = (
            f"Two words have a cosine of {alike:.2f} on average, so neighbours say little: the training was short, "
            "or had few texts."
        )
        terminal.show_warnings([warning])

    near = {word: run_checked(lambda: nearest.neighbours(opened, word, n)) for word in words or []}  # noqa: B023
    result: dict[str, Any] = {"vectors": str(place), "words": len(opened)}
    result["dimensions"] = opened.vector_size
    result["mean_cosine"] = round(alike, 6)
    result["neighbours"] = {
        word: _show_neighbours(f"Nearest to '{word}'", rows) for word, rows in near.items()
    }
    if analogy is not None:
        answers = run_checked(lambda: nearest.analogy(opened, *analogy, n))
        title = f"'{analogy[0]}' is to '{analogy[1]}' as '{analogy[2]}' is to"
        result["analogy"] = {"given": list(analogy), "answers": _show_neighbours(title, answers)}

    terminal.last_line(result, json)


def _show_neighbours(title: str, near: Sequence[Neighbour]) -> list[dict[str, Any]]:
    """Show neighbours under a title, and return them as JSON values."""
    terminal.show_rows([{"word": one.word, "cosine": f"{one.cosine:.3f}"} for one in near], title)
    return [{"word": one.word, "cosine": round(one.cosine, 6)} for one in near]
