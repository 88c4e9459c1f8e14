"""Define the command that fits word vectors."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError
from core.output import require_output
from reviewlm import terminal
from reviewlm.options import Input, Json, Preset, Rebuild, Set, Verbose, Verify, checked, run_flow, with_rebuild

if TYPE_CHECKING:
    from core.config.run_config import RunConfig



class VectorForm(StrEnum):
    """Form of a vector file."""

    WORD2VEC = "word2vec"
    BINARY = "binary"
    GLOVE = "glove"


def embed(
    input: Input = None,
    out: Annotated[Path | None, typer.Option("--out", help="Also write the vectors to this file.")] = None,
    form: Annotated[VectorForm, typer.Option(
        "--form", help="Form of that file: word2vec (text, also fastText's .vec), binary (word2vec's) or glove.",
    )] = VectorForm.WORD2VEC,
    preset: Preset = "small", set: Set = None, rebuild: Rebuild = None, verify: Verify = False,
    verbose: Verbose = False, json: Json = False,
) -> None:  # fmt: skip
    """Fit word vectors on the reviews.

    Skip-gram or CBOW: the section `embedding` has the settings.
    """
    if out is not None:
        require_output(out)
    elif form is not VectorForm.WORD2VEC:
        raise ConfigError("--form has no effect without --out", where="--form", remedy="name a file: --out FILE")
    result = run_flow("embed", preset, input, with_rebuild(set, rebuild, verify), _require_usable)
    terminal.show_facts(result)
    if out is not None:
        result = {**result, **_write(Path(result["vectors"]), out, form)}
    terminal.say("\nNext: `reviewlm models neighbours WORD`")
    terminal.last_line(result, json)


def _require_usable(config: RunConfig) -> None:
    from tasks.embed import require_vocabulary

    require_vocabulary(config)


def _write(folder: Path, out: Path, form: VectorForm) -> dict[str, Any]:
    from training.vectors.files import load_vectors, write_vectors

    vectors = checked(lambda: load_vectors(folder))
    count = checked(lambda: write_vectors(out, vectors, form.value))
    left = len(vectors) - count
    terminal.say(f"Written: {count:,} words to {out}")
    if left:
        terminal.say(f"{left} entries with white space were left out; a network that starts from all needs {folder}")
    return {"file": str(out), "form": form.value, "written": count, "left_out": left}
