"""A replayed record has the fields that its file has, by the names that the user gave when the file was read."""


from core.config.sections.source import SourceConfig
from corpus.ingestion.ingest import read_source
from tests.corpus.replayed_home import Home, fixed_file

NAMED = SourceConfig.model_validate({"fields": {"stars": "Rating", "business_id": "Shop"}})


def renamed_lines():
    return b"\n".join([b'{"review_id": "a", "text": "fine", "Rating": 4, "Shop": "s"}', b"{broken", b"{broken"])


def test_records_are_read_by_the_names_of_fields_that_their_file_was_read_by(tmp_path):
    home = Home(tmp_path, NAMED)
    home.add("a.jsonl", renamed_lines())
    fixed = fixed_file(tmp_path, {"text": "b", "Rating": 2, "Shop": "t"})
    assert home.replay(SourceConfig(), fixed)["replayed"] == 1
    assert home.data_set()[1].select("text", "stars", "business_id").rows() == [("fine", 4, "s"), ("b", 2, "t")]


def test_a_replay_is_not_used_where_the_fields_have_other_names(tmp_path, caplog):
    """It would lack what its file calls otherwise; the record waits in quarantine as before."""
    home = Home(tmp_path)
    source = home.add("a.jsonl", renamed_lines())
    fixed = fixed_file(tmp_path, {"text": "b", "Rating": 2})
    home.replay(fixed=fixed)
    assert home.data_set("before")[1]["stars"].to_list() == [None, None]
    home.readings[source.sha256] = read_source(source, tmp_path / "read-by-other-names", NAMED)
    assert "replay" not in caplog.text
    assert home.data_set("between")[1]["stars"].to_list() == [4]
    assert "1 replays of a.jsonl are not used" in caplog.text
    assert home.replay(fixed=fixed)["replayed"] == 1
    assert home.data_set("after")[1]["stars"].to_list() == [4, 2]
