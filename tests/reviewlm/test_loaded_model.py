"""The Python interface answers as the command line does, from a registry or from the folder of a bundle."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import reviewlm
from reviewlm import loading
from reviewlm.core.config.sections.evaluation import DEMO_MODEL
from reviewlm.core.errors import BundleError, InputError, ReviewLMError
from reviewlm.models.bundles.bundle import save_bundle
from reviewlm.models.completion.beam import beam_search
from reviewlm.models.completion.suggestions import suggest
from reviewlm.models.neural.encoder import Encoder
from reviewlm.models.sampling import generate
from reviewlm.tracking.tags import MADE_FROM
from tests.serving.engine.small_models import bundle_of

TEXTS = [
    f"The {food} was {taste}."
    for food in ("pizza", "soup", "salad")
    for taste in ("good", "cold", "great")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "kn2"
    reviewlm.ngram.fit(
        TEXTS,
        order=2,
        stars=[4] * len(TEXTS),
        name="kn2",
    ).save(folder)
    return folder


def test_a_bundle_is_opened_from_its_folder(folder: Path) -> None:
    lm = reviewlm.load(folder)
    assert (lm.name, lm.version) == ("kn2", None)


def test_a_loaded_model_writes_as_the_sampler_does(folder: Path) -> None:
    lm = reviewlm.load(folder)
    texts = generate(
        lm.bundle,
        2,
        4,
        "",
        300,
        3,
        temperature=0.8,
        top_p=0.95,
    )
    assert lm.generate(2, stars=4, seed=3) == texts
    assert "".join(lm.stream(stars=4, seed=3)) == lm.generate(1, stars=4, seed=3)[0]
    assert lm.search(3, max_tokens=8) == beam_search(lm.bundle, 3, max_tokens=8)


def test_a_loaded_model_suggests_as_its_bundle_does(folder: Path) -> None:
    lm = reviewlm.load(folder)
    assert lm.suggest("The", 3) == suggest(lm.bundle, "The", 3)
    assert lm.suggest("The", 3, both=True) == suggest(lm.bundle, "The", 3, both=True)


def test_a_loaded_model_scores_as_its_bundle_does(folder: Path) -> None:
    lm = reviewlm.load(folder)
    assert lm.score(TEXTS[0]).open_bits_per_byte < lm.score("zxqv blorf gneep").open_bits_per_byte
    assert math.isclose(lm.score(TEXTS[0], 4).nats, lm.bundle.score_text(TEXTS[0], 4).nats)


@pytest.fixture
def registered(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A registry with one version, of the name that is put into this list; what is asked for comes after it."""
    bundle = reviewlm.load(folder).bundle
    asked = ["reviewlm"]

    def opened(
        workspace: Any,
        model_name: str,
        name: str,
    ) -> tuple[Any, Any]:
        asked.append(name)
        tags = {MADE_FROM: "small, yelp.csv"}
        created = datetime(
            2026,
            11,
            30,
            20,
            52,
            tzinfo=UTC,
        )
        return bundle, SimpleNamespace(
            name=asked[0],
            version="3",
            tags=tags,
            created=created,
        )

    config = SimpleNamespace(
        workspace=SimpleNamespace(home=Path("home")),
        promotion=SimpleNamespace(model_name="reviewlm"),
    )
    monkeypatch.setattr(loading, "configure", lambda preset, settings, create: config)
    monkeypatch.setattr(loading, "open_registered", opened)
    return asked


def test_a_registered_version_is_opened_by_its_alias(
    tmp_path: Path,
    registered: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "champion").mkdir()  # no path, as it has no separator
    monkeypatch.chdir(tmp_path)
    lm = reviewlm.load()
    assert (lm.name, lm.version, registered[1:]) == ("reviewlm", 3, ["champion"])


def test_an_opened_version_says_which_one_it_is(
    registered: list[str],
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
) -> None:
    with caplog.at_level("INFO", logger="reviewlm"):
        lm = reviewlm.load()
    expected = (
        "<reviewlm/3: kn2 (ngram), made from small, yelp.csv, registered 2026-11-30 20:52 UTC>"
    )
    assert repr(lm) == expected
    assert expected in caplog.text
    assert len(recwarn) == 0


@pytest.mark.parametrize(
    ("asked", "warns"), [("champion", True), ("3", True), ("reviewlm-demo", False)]
)
def test_the_demos_model_in_place_of_an_own_one_is_a_warning(
    registered: list[str],
    asked: str,
    warns: bool,
    recwarn: pytest.WarningsRecorder,
) -> None:
    registered[0] = DEMO_MODEL
    reviewlm.load(asked)
    assert [warning.filename for warning in recwarn] == ([__file__] if warns else [])


@pytest.fixture
def network_folder(tmp_path: Path) -> Path:
    network = bundle_of("lstm")
    save_bundle(
        tmp_path / "lstm",
        network.spec,
        network.vocabulary,
        network.model,
        [],
        {},
    )
    return tmp_path / "lstm"


def test_texts_are_encoded_by_a_network(network_folder: Path) -> None:
    texts = ["Cold tacos.", "Great pizza.", "Cold tacos."]
    vectors = reviewlm.load(network_folder).encode(texts)
    assert (vectors == Encoder(bundle_of("lstm")).encode(texts)).all()


def test_a_single_text_to_encode_is_refused(network_folder: Path) -> None:
    with pytest.raises(ReviewLMError, match="must be a list"):
        reviewlm.load(network_folder).encode("Cold tacos.")


def test_a_model_of_counts_encodes_no_text(folder: Path) -> None:
    with pytest.raises(ReviewLMError, match="has no network"):
        reviewlm.load(folder).encode(["Cold tacos."])


def test_mistakes_are_errors_of_the_project(folder: Path, tmp_path: Path) -> None:
    for nowhere in (tmp_path / "nothing", f"{tmp_path}/nothing", "store/fit"):
        with pytest.raises(BundleError, match="no such folder"):
            reviewlm.load(nowhere)
    with pytest.raises(ReviewLMError, match="temperature"):
        reviewlm.load(folder).generate(temperature=-1)
    with pytest.raises(ReviewLMError, match="top_p"):
        next(reviewlm.load(folder).stream(top_p=2))
    with pytest.raises(ReviewLMError, match="texts is one text"):
        reviewlm.load(folder).watermarks("The soup was good.", "secret")


@pytest.mark.parametrize("wrong", [{"text": ["a"]}, ["a", None], [b"a"], 5])
def test_every_door_refuses_what_holds_no_texts(folder: Path, wrong: Any) -> None:
    lm = reviewlm.load(folder)
    doors = {
        "score": lambda: lm.score(wrong),
        "watermarks": lambda: lm.watermarks(wrong, "secret"),
        "require": lambda: lm.search(require=wrong),
        "stop": lambda: lm.generate(stop=wrong),
        "fit": lambda: reviewlm.ngram.fit(wrong, order=2),
        "held_out": lambda: reviewlm.ngram.fit(["a b"], order=2, held_out=wrong),
    }
    for door in doors.values():
        with pytest.raises(InputError):
            door()


@pytest.mark.parametrize("wrong", [None, 5, b"The", ["The"]])
def test_every_door_refuses_a_prompt_that_is_no_text(folder: Path, wrong: Any) -> None:
    lm = reviewlm.load(folder)
    doors = (
        lambda: lm.generate(prompt=wrong),
        lambda: list(lm.stream(prompt=wrong)),
        lambda: lm.suggest(wrong),
        lambda: lm.search(prompt=wrong),
        lambda: lm.generate(watermark=wrong),
        lambda: lm.watermarks(["a"], wrong),
    )
    for door in doors:
        with pytest.raises(InputError):
            door()


@pytest.mark.parametrize("wrong", [None, True, 1.5, b"champion", "", "a\0b", "\ud83d"])
def test_what_names_no_model_is_an_error_of_the_project(wrong: Any) -> None:
    with pytest.raises(ReviewLMError):
        reviewlm.load(wrong)


@pytest.mark.parametrize(
    "options",
    [{"home": 5}, {"home": ""}, {"home": "/proc/x"}, {"preset": None}, {"settings": "seed=1"}],
    ids=str,
)
def test_options_of_a_wrong_kind_are_errors_of_the_project(
    options: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REVIEWLM_HOME", str(tmp_path / "home"))
    with pytest.raises(ReviewLMError):
        reviewlm.load("champion", **options)
    assert not list(tmp_path.iterdir())


def test_an_address_of_a_file_opens_its_folder(folder: Path) -> None:
    assert reviewlm.load(folder.as_uri()).name == reviewlm.load(folder).name
