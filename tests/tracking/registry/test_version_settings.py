"""Data and settings of a command about versions: what is given wins, else the version decides, else it is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.evaluation import OWN_MODEL
from reviewlm.core.errors import BundleError, ConfigError, Damaged
from reviewlm.core.lineage import LINEAGE_FILE
from reviewlm.core.manifest import CHECKSUM, seal
from reviewlm.corpus.reading.sources import source_names
from reviewlm.tracking.logged_models.export import CLASSIFIER
from reviewlm.tracking.registry.locating import version_called
from reviewlm.tracking.registry.remedies import no_such_model
from reviewlm.tracking.registry.version_settings import settings_of
from tests.tracking.registry.made_registry import register

OVERRIDES = ["models.lstm.hidden=33", "evaluation.confidence=0.9", "source.max_chars=500"]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("a.jsonl", "b.jsonl"):
        (folder / name).write_text("{}\n")
    return sorted(folder.iterdir())


@pytest.fixture
def versions(
    own_home: Path,
    files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Two versions of one's own reviews, the second of more of them; nothing here may ask MLflow itself."""
    own_home.mkdir(exist_ok=True)
    monkeypatch.setattr(
        "reviewlm.tracking.client.open_client", lambda *asked: pytest.fail("MLflow was asked")
    )
    older = load_config("small").with_input([str(files[0])])
    newer = load_config("small", OVERRIDES).with_input([str(files[0].parent)])
    register(
        own_home,
        older,
        1,
        ["previous"],
        files[:1],
    )
    register(
        own_home,
        newer,
        2,
        ["champion"],
        files,
    )
    return own_home


def hidden(config: RunConfig) -> int:
    return next(spec.hidden for spec in config.models if spec.kind == "lstm")  # type: ignore[union-attr]


@pytest.mark.usefixtures("versions")
@pytest.mark.parametrize(
    "references", [["champion"], ["champion", "previous"], ["1", "2"], ["kn5", "2"]]
)
def test_the_newest_version_decides_where_nothing_is_given(
    references: list[str], files: list[Path]
) -> None:
    chosen = settings_of(references)
    config = chosen.config
    assert (hidden(config), config.evaluation.confidence, config.source.max_chars) == (33, 0.9, 500)
    assert config.source.input == (str(files[0].parent),)
    assert (chosen.dataset, chosen.clean) == ("data-2", "clean-2")
    assert chosen.data == "version 2 (champion) of 'reviewlm': a.jsonl, b.jsonl"
    assert chosen.settings == "version 2 (champion) of 'reviewlm'"


@pytest.mark.usefixtures("versions")
def test_the_demo_is_not_the_model_of_ones_own_reviews(own_home: Path) -> None:
    before = settings_of(["champion"], preset="demo")
    assert (before.dataset, before.config.promotion.model_name) == ("", "reviewlm-demo")
    register(
        own_home,
        load_config("demo", ["seed=4"]),
        1,
        ["champion"],
        name="reviewlm-demo",
    )
    demo = settings_of(["champion"], preset="demo")
    reviews = f"{demo.config.source.synthetic.reviews:,} synthetic reviews"
    assert demo.data == f"version 1 (champion) of 'reviewlm-demo': the embedded corpus, {reviews}"
    assert demo.config.source.synthetic.seed == 4
    named = settings_of(["reviewlm-demo"])
    assert (named.dataset, named.config.promotion.model_name, named.config.seed) == (
        "data-1",
        "reviewlm-demo",
        4,
    )


@pytest.fixture
def classifiers(
    own_home: Path,
    files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Two classifiers of stars, one of polarity, and the demo's language model, which a warning could name."""
    own_home.mkdir(exist_ok=True)
    monkeypatch.setattr(
        "reviewlm.tracking.client.open_client", lambda *asked: pytest.fail("MLflow was asked")
    )
    config = load_config("classify").with_input([str(files[0])])
    register(
        own_home,
        config,
        1,
        ["previous"],
        files[:1],
        name="reviewlm-stars",
    )
    by_business = load_config("classify", ["split.by=business", "split.salt=mine"]).with_input(
        [str(files[0].parent)]
    )
    register(
        own_home,
        by_business,
        2,
        ["champion"],
        files,
        name="reviewlm-stars",
    )
    polarity = load_config("classify", ["classification.label=polarity"]).with_input(
        [str(files[1])]
    )
    register(
        own_home,
        polarity,
        1,
        ["champion"],
        files[1:],
        name="reviewlm-polarity",
    )
    register(
        own_home,
        load_config("demo"),
        1,
        ["champion"],
        name="reviewlm-demo",
    )
    return own_home


@pytest.mark.usefixtures("classifiers")
@pytest.mark.parametrize(
    "references",
    [
        ["champion", "previous"],
        ["1", "2"],
        ["reviewlm-stars/1", "models:/reviewlm-stars@champion"],
    ],
    ids=["aliases", "numbers", "names"],
)
def test_the_newest_classifier_decides_which_data_are_taken(
    references: list[str],
    files: list[Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    chosen = settings_of(references, form=CLASSIFIER)
    assert (chosen.config.split.by, chosen.config.split.salt) == ("business", "mine")
    assert chosen.config.source.input == (str(files[0].parent),)
    assert chosen.dataset == "data-2"
    assert chosen.data == "version 2 (champion) of 'reviewlm-stars': a.jsonl, b.jsonl"
    assert "demo" not in caplog.text, "the language model has no part in it"


@pytest.mark.usefixtures("classifiers")
def test_a_classifier_that_is_not_registered_is_an_error_before_any_data_are_chosen() -> None:
    with pytest.raises(BundleError, match="reviewlm-stars/7"):
        settings_of(["champion", "7"], form=CLASSIFIER)
    with pytest.raises(BundleError) as refused:
        settings_of(
            ["champion"], form=CLASSIFIER, overrides=["classification.promotion.model_name=mine"]
        )
    assert "reviewlm models classify fit" in refused.value.remedy


def test_a_classifier_without_a_record_needs_data_that_are_named(own_home: Path) -> None:
    own_home.mkdir()
    register(
        own_home,
        load_config("classify"),
        1,
        ["champion"],
        name="reviewlm-stars",
        recorded=False,
    )
    with pytest.raises(ConfigError, match="not clear which data") as refused:
        settings_of(["champion"], form=CLASSIFIER)
    assert "--input FILES" in refused.value.remedy
    assert settings_of(["1"], input=["mine.csv"], form=CLASSIFIER).data == "mine.csv"


@pytest.fixture
def nested(
    own_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> list[Path]:
    """Two files below folders of their own; the working folder is another one."""
    own_home.mkdir(exist_ok=True)
    found = [tmp_path / "d[1]" / "a" / "x.jsonl", tmp_path / "d[1]" / "b" / "y.jsonl"]
    for file in found:
        file.parent.mkdir(parents=True)
        file.write_text("{}\n")
    monkeypatch.chdir(own_home)
    return found


@pytest.mark.parametrize(
    "pattern", ["**/*.jsonl", ".", "./", "a/../*/*.jsonl", "../d[[]1]/*/?.jsonl"]
)
def test_relative_paths_are_those_of_the_folder_that_the_run_was_made_in(
    own_home: Path,
    nested: list[Path],
    pattern: str,
) -> None:
    folder = nested[0].parent.parent
    files = ["vectors.near=own.vec", "vectors.far=/data/glove.txt"]
    overrides = ["source.business=business.json", *files]
    config = load_config("small", overrides).with_input([pattern])
    register(
        own_home,
        config,
        1,
        ["champion"],
        nested,
        folder=str(folder),
    )
    found = settings_of(["champion"]).config
    source = found.source
    assert found.vectors == {"near": str(folder / "own.vec"), "far": "/data/glove.txt"}
    assert [file.resolve() for file in source_names(source.input)] == nested
    assert source.business == str(folder / "business.json")


def test_a_setting_that_this_code_does_not_know_is_said_to_be_of_then(
    own_home: Path, files: list[Path]
) -> None:
    own_home.mkdir(exist_ok=True)
    config = load_config("small")
    folder = register(
        own_home,
        config,
        1,
        ["champion"],
        files,
    )
    record = folder / LINEAGE_FILE
    told = json.loads(record.read_text())
    told["configuration"]["drift"]["old_limit"] = 1
    record.write_text(json.dumps(told))
    with pytest.raises(Damaged):  # a changed record is not trusted
        settings_of(["champion"])
    record.write_text(
        json.dumps(seal({name: value for name, value in told.items() if name != CHECKSUM}))
    )
    with pytest.raises(ConfigError, match="do not fit this version of the code"):
        settings_of(["champion"])
    assert settings_of(["champion"], preset="small").dataset == "data-1"


@pytest.mark.usefixtures("versions")
def test_names_that_are_no_versions_are_told_at_once() -> None:
    config = load_config("small")
    assert [
        version_called(config.workspace, OWN_MODEL, name)
        for name in ("7", "nobody", "kn5+lstm", "reviewlm-demo")
    ] == [None] * 4
    found = version_called(config.workspace, OWN_MODEL, "reviewlm/1")
    assert found is not None
    assert found.version.version == 1
    models = [spec.name for spec in config.models]
    error = no_such_model(config.workspace, OWN_MODEL, models, "nobody")
    assert "kn5, lstm, kn5+lstm" in str(error)


def test_two_names_of_one_classifier_are_refused_with_another_to_compare(own_home: Path) -> None:
    own_home.mkdir()
    for number in (1, 2):
        aliases = ["champion"] if number == 1 else []
        register(
            own_home,
            load_config("classify"),
            number,
            aliases,
            name="reviewlm-stars",
        )

    with pytest.raises(ConfigError) as refused:
        settings_of(["champion", "1"], form=CLASSIFIER)
    assert "name another: 2;" in refused.value.remedy
