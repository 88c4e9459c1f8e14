"""A field with an empty name is not read, so that values which cannot be used do not cost the reviews."""

import pytest

from reviewlm.core.config.presets import load_config
from reviewlm.core.errors import ConfigError, EmptyInput, InputError
from reviewlm.corpus.account import Account, Outcome
from tests.corpus import data_sets
from tests.corpus.review_files import in_formats

FORMATS = list(in_formats([{"text": "a"}]))


def read(path, out, *settings):
    facts = data_sets.ingest([path], out, load_config("demo", list(settings)).source)
    return facts, Account.from_dict(facts["account"])


def write(path, rows):
    path.write_bytes(in_formats(rows)[path.name])
    return path


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("field", "value"), [("date", "2 weeks ago"), ("stars", "good"), ("review_id", "1.2E+17")]
)
def test_reviews_stay_without_a_field_that_cannot_be_used(
    tmp_path,
    name,
    field,
    value,
):
    record = {
        "review_id": "r{}",
        "text": "Dish {}.",
        "stars": "4",
        "date": "2023-05-01",
    }
    rows = [
        {
            **record,
            "text": f"Dish {n}.",
            "review_id": f"r{n}",
            field: value,
        }
        for n in range(9)
    ]
    path = write(tmp_path / name, rows)
    with pytest.raises(EmptyInput) as caught:
        read(path, tmp_path / "out")

    setting = f"source.fields.{field}="
    assert f"`--set {setting}`" in caught.value.remedy
    facts, account = read(path, tmp_path / "out", setting)
    assert (facts["rows"], account.count(Outcome.SET_ASIDE)) == (9, 0)


@pytest.fixture(params=FORMATS)
def one_id(request, tmp_path):
    """A file of 20 reviews that all have the same id."""
    rows = [
        {
            "review_id": "x",
            "text": f"Dish {n}.",
            "date": f"2023-05-{n + 1:02d}",
        }
        for n in range(20)
    ]
    return write(tmp_path / request.param, rows)


def test_a_field_that_is_one_value_for_all_reviews_is_refused(one_id, tmp_path):
    with pytest.raises(InputError) as caught:
        read(one_id, tmp_path / "out")
    assert "`--set source.fields.review_id=`" in caught.value.remedy


def test_the_remedy_for_one_id_of_all_reviews_keeps_them(one_id, tmp_path):
    assert read(one_id, tmp_path / "out", "source.fields.review_id=")[0]["rows"] == 20


def test_the_text_cannot_be_left_unread():
    with pytest.raises(ConfigError, match="text"):
        load_config("demo", ["source.fields.text="])
