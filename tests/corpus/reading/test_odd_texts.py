"""Texts that a program has damaged are counted with a sample for each file; texts as people write them are not."""

import random

import pytest

from reviewlm.corpus.account import Account
from reviewlm.corpus.account_kinds import Kind
from reviewlm.corpus.reading.odd_texts import LIMITS, ODD_TEXTS
from reviewlm.models.text.normal_form import NormalForm
from tests.corpus.review_files import in_formats, ingested, json_lines

FORMATS = list(in_formats([{"text": "a"}]))
DAMAGED = {
    Kind.MOJIBAKE: ["A cafÃ© in town.", "Itâ€™s fine.", "So sweet ðŸ˜€", "ÐŸÑ€Ð¸Ð²ÐµÑ‚, Ð´Ñ€ÑƒÐ³!"],
    Kind.REPLACEMENT_SIGNS: ["A caf\ufffd in town.", "A cafï¿½ in town."],
    Kind.PYTHON_REPR: ["b'Good soup.'", 'b"It\'s good."', "['Good soup.', 'Cold tea.']"],
    Kind.JSON_ESCAPES: [r"A caf\u00e9 in town.", r"Nice \ud83d\ude00"],
    Kind.EXCEL_ESCAPES: ["Good soup._x000D_\nCold tea."],
    Kind.HTML_TAGS: [
        "<b>Good</b> soup.",
        '<div class="r">Cold tea.</div>',
        "&lt;i&gt;Hm.&lt;/i&gt;",
        "<A HREF='x'>here</A>",
    ],
    Kind.HTML_ENTITIES: ["Mac &amp; cheese.", "It&#39;s fine.", "5 &gt; 4 stars"],
    Kind.PREVIEWS: ["The soup was good and the tea...Read more", "The soup was… more"],
    Kind.WORDS_FOR_NONE: ["nan", "None", "[deleted]", "#NAME?", " N/A "],
    Kind.SUMMARIES: ["Total", "Grand total: 5,000", "(60 rows)", "60 rows in set (0.01 sec)"],
    Kind.HEADERS: ["text", "Review Text", "review_body"],
}
FINE = [
    "A café in town, “lovely”… and it’s cheap – 5 € for two!",
    "CAFÉ” said the sign; the Señor’s naïve soupçon of Ångström.",
    "Totally fine. Total cost 50. The total was 30 dollars.",
    "I <3 this place. 5 < 6 and 7 > 3. A&W, R&B; M&M's.",
    "More of it! Tell me more. I want some more...",
    "None of it was good. Null points.",
    r"C:\users\me, a \\ sign, infant\toddler menu",
    "b'nai b'rith met here. ['a' and 'b']: two rooms.",
    "Reviews here are wrong. Text me. 20 rows of seats, 3 records played.",
    "日本語のレビューです。 Привет, друг! Χαίρετε. 👍🏽",
]


def clean(count):
    return [{"review_id": f"r{n}", "text": f"Dish {n} was fine, and warm."} for n in range(count)]


def told(facts):
    account = Account.from_dict(facts["account"])
    account.require_sum(facts["rows"])
    return {entry.kind: entry for entry in account.entries if entry.kind is not Kind.FIELDS_MISSING}


def test_each_kind_of_the_table_has_an_example():
    assert set(DAMAGED) == {odd.kind for odd in ODD_TEXTS}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", DAMAGED)
def test_odd_texts_are_counted_with_what_to_do(
    tmp_path,
    kind,
    name,
):
    texts = DAMAGED[kind]
    if name.endswith(".txt"):
        texts = [text.replace("\n", " ") for text in texts]
    rows = [*clean(80), *({"review_id": f"odd{n}", "text": t} for n, t in enumerate(texts))]
    facts, _, _ = ingested(tmp_path, (name, in_formats(rows)[name]))
    entry = told(facts)[kind]
    assert (entry.count, entry.file) == (len(texts), name)
    [row] = [odd for odd in ODD_TEXTS if odd.kind is kind]
    assert (entry.odd, entry.remedy) == (row.odd, row.remedy)
    assert bool(row.remedy) == row.odd


def test_texts_as_people_write_them_are_not_odd(tmp_path):
    rows = [*clean(20), *({"review_id": f"f{n}", "text": text} for n, text in enumerate(FINE))]
    facts, _, _ = ingested(tmp_path, ("r.jsonl", json_lines(rows)))
    assert set(told(facts)) == set()


def test_few_odd_texts_of_many_are_not_told_unless_they_are_no_reviews(tmp_path):
    rows = [*clean(3000), {"text": "A cafÃ© in town."}, {"text": "Total: 3,000"}]
    facts, _, _ = ingested(tmp_path, ("r.jsonl", json_lines(rows)))
    assert set(told(facts)) == {Kind.SUMMARIES}


def test_what_the_normal_form_repairs_is_no_warning(tmp_path):
    for kind in (Kind.HTML_ENTITIES, Kind.MOJIBAKE):
        for text in DAMAGED[kind]:
            assert NormalForm().apply(text) != text
    for kind in (Kind.HTML_TAGS, Kind.JSON_ESCAPES, Kind.EXCEL_ESCAPES, Kind.PYTHON_REPR):
        for text in DAMAGED[kind]:
            form = NormalForm().apply(text)
            assert NormalForm().apply(form) == form
            assert any(sign in form for sign in ("<", "\\u", "_x000D_", "'"))


def story(draw, length):
    words = ["good", "soup", "cold", "tea", "waiter", "table", "I", "we", "came"]
    text = ""
    while len(text) < length:
        sentence = " ".join(draw.choice(words) for _ in range(draw.randrange(3, 12)))
        text += f"{sentence}. "
    return text[:length]


@pytest.mark.parametrize(
    ("limit", "cut"), [(255, 30), (256, 30), (4_000, 4), (32_767, 1), (65_535, 1)]
)
def test_texts_that_were_cut_at_a_limit_are_named_by_their_length(
    tmp_path,
    limit,
    cut,
):
    draw = random.Random(1)
    texts = [story(draw, draw.randrange(20, 250)) for _ in range(200)]
    texts += [story(draw, limit)[:-1] + "a" for _ in range(cut)]
    rows = [{"review_id": f"r{n}", "text": text} for n, text in enumerate(texts)]
    facts, _, _ = ingested(tmp_path, ("r.jsonl", json_lines(rows)))
    entry = told(facts)[Kind.CUT_TEXTS]
    assert (entry.count, entry.odd) == (cut, True)
    assert f"{limit:,} characters" in entry.detail


def test_texts_cut_at_a_limit_of_bytes_are_found_whatever_their_characters_are(tmp_path):
    rows = [{"review_id": f"r{n}", "text": "é" * n + "a" * (255 - 2 * n)} for n in range(1, 60)]
    facts, _, _ = ingested(tmp_path, ("r.jsonl", json_lines(rows)))
    assert "255 bytes" in told(facts)[Kind.CUT_TEXTS].detail


@pytest.mark.parametrize("end", [".", "!", "…"])
def test_texts_that_people_ended_at_a_limit_are_not_cut(tmp_path, end):
    draw = random.Random(2)
    texts = [story(draw, 279) + end for _ in range(30)]
    rows = [{"review_id": f"r{n}", "text": text} for n, text in enumerate(texts)]
    assert 280 in LIMITS
    facts, _, _ = ingested(tmp_path, ("r.jsonl", json_lines(rows)))
    assert Kind.CUT_TEXTS not in told(facts)
