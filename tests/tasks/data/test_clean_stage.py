"""When cleaning is done again: what counts for its digest."""

import orjson
import pytest

from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.data import SourceConfig
from reviewlm.core.errors import Unreadable
from reviewlm.core.store import Artifact
from reviewlm.tasks.data.prepare import clean_and_split
from reviewlm.tasks.execution.stage import run_stage
from tests.corpus.data_sets import ingest


@pytest.fixture
def dataset(own_home, tmp_path):
    """An ingested data set in a store of its own."""
    rows = [
        {
            "review_id": f"r{n}",
            "business_id": f"b{n % 9}",
            "text": f"review {n} of a place",
        }
        for n in range(60)
    ]
    (tmp_path / "r.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return run_stage(
        RunConfig().workspace,
        "ingest",
        {},
        {},
        lambda work: ingest([tmp_path / "r.jsonl"], work, SourceConfig()),
    ).artifact


def cleaned(dataset, **options) -> Artifact:
    result = clean_and_split.fn(RunConfig.model_validate(options), dataset)
    return getattr(result, "data", result)


@pytest.mark.slow
def test_only_sections_that_decide_about_the_rows_prepare_again(dataset):
    first = cleaned(dataset)
    others = {"checks": {"max_quarantined": 0.2}, "execution": {"threads": 1}}
    assert cleaned(dataset, **others).digest == first.digest
    changes = [
        {"clean": {"mask_personal_data": False}},
        {"duplicates": {"near": False}},
        {"split": {"salt": "other"}},
        {"selection": {"languages": ["en"]}},
    ]
    digests = [cleaned(dataset, **change).digest for change in changes]
    assert len({first.digest, *digests}) == 5
    assert (first.folder / "leak_certificate.json").exists()


@pytest.mark.slow
def test_one_byte_of_the_table_of_businesses_prepares_again(dataset, tmp_path):
    table = tmp_path / "business.json"
    source = {"source": {"business": str(table)}}
    digests = set()
    for name in ("Café", "Cafe", "Café"):
        table.write_bytes(orjson.dumps({"business_id": "b1", "name": name}))
        digests.add((found := cleaned(dataset, **source)).digest)
        assert found.facts["business"]["unmatched"] == found.facts["rows"] - 7
    assert len(digests) == 2
    table.unlink()
    with pytest.raises(
        Unreadable, match=r"(?s)table of businesses.*business\.json.*source\.business"
    ):
        cleaned(dataset, **source)


def test_the_table_of_businesses_may_have_records_as_large_as_the_setting_says(dataset, tmp_path):
    table = tmp_path / "business.json"
    table.write_bytes(orjson.dumps({"business_id": "b1", "name": "a" * 5_000}))
    assert cleaned(dataset, source={"business": str(table)}).facts["business"]["businesses"] == 1
    with pytest.raises(Unreadable, match=r"(?s)A business is too long.*source\.max_record_bytes"):
        cleaned(
            dataset,
            source={"business": str(table), "max_record_bytes": 1_000},
            split={"salt": "other"},
        )
