"""The command in the error for a file that is not read makes of it one that is read."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import feather, ipc, orc, parquet

from reviewlm.core.errors import Unreadable
from tests.corpus import data_sets

TEXTS = [f"Good soup {number}, and warm." for number in range(12)]


def save_parquet(path, text, **more):
    parquet.write_table(
        pyarrow.table(
            {
                "text": text,
                "stars": [5] * 12,
                **more,
            }
        ),
        path,
    )


def save_stream(path):
    table = pyarrow.table({"text": TEXTS})
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


def save_json(
    path,
    rows,
    lines=False,
):
    path.write_text("\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))


NAMED = [["id", "text"], *([number, text] for number, text in enumerate(TEXTS))]
WRITERS = {
    "struct.parquet": lambda path: save_parquet(
        path, [{"id": 1, "review_text": text} for text in TEXTS]
    ),
    "list.parquet": lambda path: save_parquet(path, [text.split(" ") for text in TEXTS]),
    "stream.arrow": save_stream,
    "table.feather": lambda path: feather.write_feather(pyarrow.table({"text": TEXTS}), str(path)),
    "table.orc": lambda path: orc.write_table(pyarrow.table({"text": TEXTS}), str(path)),
    "array.json": lambda path: save_json(path, NAMED[1:]),
    "named.json": lambda path: save_json(path, NAMED),
    "array.jsonl": lambda path: save_json(path, NAMED[1:], lines=True),
    "named.jsonl": lambda path: save_json(path, NAMED, lines=True),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_command_makes_a_file_readable(tmp_path, name):
    folder = tmp_path / "in"
    folder.mkdir()
    WRITERS[name](folder / name)
    with pytest.raises(Unreadable) as caught:
        data_sets.ingested([folder / name], tmp_path / "out")

    command = caught.value.remedy
    command = command[command.index("python" if "python" in command else "jq") :]
    if command.startswith("jq") and not shutil.which("jq"):
        pytest.skip("apt-get install jq")

    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        check=True,
        env={"PATH": path},
    )
    [written] = folder.glob("reviews.*")
    _, rows, _ = data_sets.ingested([written], tmp_path / "again")
    assert rows["text"].to_list() == TEXTS


def test_bytes_that_a_writer_did_not_call_a_text_are_read_as_one(tmp_path):
    texts = [*(text.encode() for text in TEXTS[:-1]), b"caf\xe9"]
    save_parquet(tmp_path / "r.parquet", texts)
    _, rows, bad = data_sets.ingested([tmp_path / "r.parquet"], tmp_path / "out")
    assert (rows["text"].to_list(), bad["reason"].to_list()) == (TEXTS[:-1], ["encoding"])


def test_a_file_packed_by_brotli_is_read(tmp_path):
    content = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
    with pyarrow.CompressedOutputStream(str(tmp_path / "r.jsonl.br"), "brotli") as out:
        out.write(content)
    _, rows, _ = data_sets.ingested([tmp_path], tmp_path / "out")
    assert rows["text"].to_list() == TEXTS
