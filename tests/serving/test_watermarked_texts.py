"""The server, the commands and Python write the same texts by a key, and find the mark in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import reviewlm
from reviewlm.loaded_model import LoadedModel
from reviewlm.models.sampling import generate
from reviewlm.models.sampling.watermark import evidence_of
from tests.command_line import call
from tests.serving.made_versions import bundle_of
from tests.serving.processes import version
from tests.serving.test_server import served

KEY = "secret"
BODY: dict[str, Any] = {
    "stars": 5,
    "temperature": 1.5,
    "top_p": 1,
    "n": 9,
    "seed": 3,
}


def texts_of(**options: Any) -> list[str]:
    """Return the texts that the model writes without any door."""
    return generate(
        bundle_of(1),
        BODY["n"],
        BODY["stars"],
        temperature=BODY["temperature"],
        max_tokens=300,
        seed=BODY["seed"],
        **options,
    )


@pytest.fixture
def home(own_home: Path) -> Path:
    """A home whose champion is version 1."""
    version(own_home, 1, "champion")
    return own_home


@pytest.fixture
def lm(home: Path) -> LoadedModel:
    return reviewlm.load("champion")


@pytest.mark.parametrize("options", [{"watermark": KEY}, {}], ids=["by a key", "without a key"])
def test_the_server_writes_the_texts_of_the_model(home: Path, options: dict[str, str]) -> None:
    with served() as client:
        answer = client.post("/v1/completions", json={**BODY, **options}).json()

    assert [choice["text"] for choice in answer["choices"]] == texts_of(**options)


def test_a_key_changes_the_texts() -> None:
    assert texts_of(watermark=KEY) != texts_of()


def test_a_key_that_is_no_text_is_refused(home: Path) -> None:
    with served() as client:
        refused = client.post("/v1/completions", json={**BODY, "watermark": 3})

    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "watermark"


def test_the_command_writes_the_texts_of_the_model(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    options: list[Any] = []
    for name, value in {**BODY, "watermark": KEY}.items():
        options += [f"--{name.replace('_', '-')}", value]

    done = call(
        monkeypatch,
        capfd,
        "generate",
        *options,
        "--json",
    )
    assert done.facts["texts"] == texts_of(watermark=KEY)


def test_python_writes_the_texts_of_the_model(lm: LoadedModel) -> None:
    assert lm.generate(**BODY, watermark=KEY) == texts_of(watermark=KEY)


def test_a_stream_is_the_first_of_the_texts(lm: LoadedModel) -> None:
    options = {name: value for name, value in BODY.items() if name != "n"}
    assert "".join(lm.stream(**options, watermark=KEY)) == texts_of(watermark=KEY)[0]


@pytest.fixture
def lines() -> list[str]:
    """The texts by the key, a line each."""
    return [" ".join(text.split()) for text in texts_of(watermark=KEY) if text.strip()]


def test_python_finds_the_mark_as_the_model_does(lm: LoadedModel, lines: list[str]) -> None:
    marks = [evidence_of(bundle_of(1).vocabulary, text, KEY) for text in lines]
    assert lm.watermarks(lines, KEY) == marks
    assert sum(mark.z for mark in marks) > 0


@pytest.mark.parametrize("key", [KEY, ""])
def test_the_command_finds_the_mark_if_it_is_given_a_key(
    home: Path,
    lines: list[str],
    key: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = home / "texts.txt"
    file.write_text("\n".join(lines), encoding="utf-8")
    options = ["--watermark", key] if key else []
    facts = call(
        monkeypatch,
        capfd,
        "score",
        str(file),
        *options,
        "--json",
    ).facts
    marks = [evidence_of(bundle_of(1).vocabulary, text, KEY)._asdict() for text in lines]
    numbered = [{"line": number, **mark} for number, mark in enumerate(marks, 1)]
    assert facts.get("watermarks") == (numbered if key else None)
