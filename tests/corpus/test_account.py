"""The account of the data adds its entries up, in all and for each file, and survives JSON."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reviewlm.corpus.account import TAKEN, Account, Entry, Outcome, join_files, merge_entries
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.schema import Reason

ENTRIES = st.builds(
    Entry,
    step=st.sampled_from(["read", "ingest"]),
    outcome=st.sampled_from(list(Outcome)),
    kind=st.sampled_from([Kind.SAME_TEXT, Kind.OTHER_LANGUAGE]),
    count=st.integers(0, 9),
    about=st.sampled_from(["", "de", "fr"]),
    file=st.sampled_from(["a", "b"]),
    odd=st.booleans(),
)


def test_records_are_those_used_with_those_taken_for_each_outcome():
    account = Account(
        {"a": 10, "b": 5},
        (
            Entry(
                "read",
                Outcome.SET_ASIDE,
                Kind.BAD_DATE,
                2,
                "a",
            ),
            Entry(
                "ingest",
                Outcome.REPLACED,
                Kind.OTHER_TEXT,
                1,
                "b",
            ),
            Entry("prepare", Outcome.LEFT_OUT, Kind.EMPTY_TEXT, 3),
            Entry(
                "read",
                Outcome.REPAIRED,
                Kind.STAND_IN,
                4,
                "a",
                odd=True,
                about="date",
            ),
        ),
    )
    assert (account.read, account.used) == (15, 9)
    assert account.kinds(Outcome.SET_ASIDE) == {"bad_date": 2}
    assert [(row["records"], row["used"]) for row in account.files()] == [(10, 8), (5, 4)]
    assert [entry.title for entry in account.odd] == ["unknown value (date)"]


@given(st.lists(ENTRIES))
def test_merged_entries_have_the_counts_of_those_given(entries):
    def key_of(entry):
        return (entry.outcome, entry.kind, entry.about, entry.file, entry.step)

    def counts(some):
        return {
            key: sum(entry.count for entry in some if key_of(entry) == key)
            for key in {key_of(entry) for entry in some if entry.count}
        }

    merged = merge_entries(entries)
    assert counts(merged) == counts(entries)
    assert len(merged) == len(counts(entries))


@given(st.lists(ENTRIES))
def test_an_account_is_the_same_after_json(entries):
    account = Account({"a": 100, "b": 100}).plus(entries)
    again = Account.from_dict(orjson.loads(orjson.dumps(account.to_dict())))
    assert again == account
    assert account.used == 200 - sum(e.count for e in entries if e.outcome in TAKEN)


@pytest.mark.parametrize("lost", [1, -1])
def test_a_record_without_an_entry_is_an_error_of_the_program(lost):
    account = Account(
        {"a": 3},
        (
            Entry(
                "read",
                Outcome.COPY,
                Kind.SAME_RECORD,
                1,
                "a",
            ),
        ),
    )
    account.require_sum(2)
    with pytest.raises(RuntimeError):
        account.require_sum(2 - lost)


def test_a_sentence_names_file_count_reason_with_the_remedy():
    entry = Entry(
        "read",
        Outcome.NOTED,
        Kind.DAY_OR_MONTH,
        1234,
        "a.csv",
        "dates could be either",
        "set the order",
    )
    assert entry.sentence == "a.csv: dates could be either (1,234 records); set the order"


def test_a_table_says_once_what_is_the_same_for_many_files():
    same = [
        Entry(
            "prepare",
            Outcome.COPY,
            Kind.SAME_TEXT,
            2,
            f"{name}.json",
        )
        for name in "abcd"
    ]
    odd = [
        Entry(
            "read",
            Outcome.NOTED,
            Kind.MONTH_FIRST,
            1,
            file,
            odd=True,
        )
        for file in "abcd"
    ]
    few = [
        Entry(
            "prepare",
            Outcome.LEFT_OUT,
            Kind.EMPTY_TEXT,
            3,
            file,
        )
        for file in "ab"
    ]
    joined = join_files([*same, *odd, *few])
    assert joined == [
        Entry(
            "prepare",
            Outcome.COPY,
            Kind.SAME_TEXT,
            8,
            "4 files",
        ),
        *odd,
        *few,
    ]


def test_each_reason_of_the_quarantine_is_a_kind():
    assert {Kind(reason.value) for reason in Reason} < set(Kind)


def test_an_entry_of_another_version_keeps_its_kind_as_what_it_is_about():
    stored = {
        "step": "read",
        "outcome": "noted",
        "kind": "a kind of tomorrow",
        "count": 2,
    }
    entry = Entry.from_dict(stored)
    assert (entry.kind, entry.about, entry.count) == (Kind.UNNAMED, "a kind of tomorrow", 2)
