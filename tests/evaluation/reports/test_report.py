"""The report of a run: everything on one page that needs nothing else, and no gap where something was not measured."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
import pytest
from matplotlib.colors import to_hex

from evaluation.gate.decision import RuleOutcome
from evaluation.plots.surprisal import surprisal_figure
from evaluation.reports import report_pictures, report_tables, report_words
from evaluation.reports.document import Amount, Page, PageSection, PageTable
from evaluation.reports.model_card import model_card
from evaluation.reports.report import report
from evaluation.reports.report_pictures import pictures_of, with_decision
from evaluation.reports.run_results import ModelResults
from evaluation.scoring import surprisal
from tests.evaluation.made_results import LEVELS, made_decision, made_results, made_table

VOID = {"meta", "img", "br", "link", "input"}


class Reader(HTMLParser):
    """Checks that every tag is closed in its turn, and keeps what the tests look at."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} is closed out of turn"

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def page_of(*parts):
    return Page("", "", sections=[PageSection("", parts)]).to_html()


@pytest.fixture(scope="module")
def results():
    return made_results()


@pytest.fixture(scope="module")
def pictures(results):
    return pictures_of(results)


@pytest.fixture(scope="module")
def html(results, pictures):
    return report(results, pictures)


@pytest.fixture(scope="module")
def read(html):
    return Reader(html)


def test_the_page_is_whole_html_and_asks_nobody_for_anything(html, read):
    assert read.open == []
    loaded = [attrs.get("src") or attrs.get("href") for tag, attrs in read.tags if tag in ("img", "script", "link")]
    assert loaded == [None], "only the script that is in the page"
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in html
    assert "innerHTML" not in script
    assert not re.search(r"@import|url\((?!#)", html)
    assert len(html) < 3_000_000


def test_links_lead_to_the_pages_about_the_run_and_run_nothing():
    links = {"MLflow": "http://localhost:5000/#/runs/1", "data card": "../../store/card/1/data_card.html",
             "all runs": "../index.html", "script": "javascript:alert(1)", "other": "//evil.example"}  # fmt: skip
    read = Reader(report(made_results(links=links), []))
    addresses = [attrs["href"] for attrs in read.all("a") if not attrs["href"].startswith("#")]
    assert addresses == list(links.values())[:3]
    assert all(name in " ".join(read.text) for name in links)


def test_a_hint_on_the_training_is_on_the_page_as_on_the_terminal():
    hints = ["lstm is under-trained.", "More passes (<b>) would help."]
    assert "<p>Hint: lstm is under-trained. More passes (&lt;b&gt;) would help.</p>" in report(
        made_results(hints=hints), []
    )
    assert "Hint:" not in report(made_results(), [])


def test_the_table_of_the_result_says_that_perplexities_of_two_vocabularies_do_not_compare(results):
    within = "perplexities compare models of one vocabulary only"
    assert within in report_tables.about_result(results)
    assert within not in report_tables.about_result(replace(results, table=results.table.filter(unit="word")))


def test_every_figure_has_words_for_those_who_cannot_see_it(read, pictures):
    images = read.all("svg")
    assert len(images) == sum(bool(picture.section) for picture in pictures)
    assert all(len(attrs["aria-label"]) > 40 for attrs in images)
    assert len(read.all("figcaption")) == len(images)


def test_links_of_the_contents_lead_to_headings(read):
    places = [attrs["id"] for attrs in read.all("h2")]
    inside = [attrs["href"] for attrs in read.all("a") if attrs["href"].startswith("#")]
    assert inside == [f"#{place}" for place in places]
    assert len(places) == len(set(places))


def test_head_cells_say_what_they_head_and_wide_tables_move_by_themselves(read):
    assert all(attrs.get("scope") == "col" for attrs in read.all("th"))
    assert len(read.all("table")) == sum(attrs.get("role") == "region" for attrs in read.all("div"))


def test_each_figure_that_is_wanted_is_there(pictures):
    names = {picture.name for picture in pictures}
    assert names == {
        "loss_curves", "perplexity_by_model", "quality_size_cost", "worst_slices", "by_stars", "by_length", "by_month",
        "by_category", "by_frequency", "by_position", "by_after_oov", "ranks", "context", "reliability", "certainty",
        "novelty", "exposure", "surprisal",
    }  # fmt: skip
    assert all(picture.reading and picture.finding for picture in pictures if picture.section)


def test_figures_of_single_tokens_say_of_how_many_reviews_they_are(read):
    assert " ".join(read.text).count("observed in 4 of the 680 test reviews") == 2


def test_abbreviations_of_the_page_are_explained_on_it(read):
    said = " ".join(read.text)
    for explained in ("ECE: expected calibration error", "T: the temperature", "Of peak speed:", "Update:", "Better:"):
        assert explained in said


def test_titles_stand_above_the_drawings_which_have_none(html, pictures):
    drawn = next(picture for picture in pictures if picture.name == "perplexity_by_model").picture
    assert drawn.title.startswith("Test set of 680 reviews")
    assert "Test set of 680 reviews" not in drawn.svg
    assert '<p class="title">Test set of 680 reviews' in html


def test_a_warning_of_the_gate_stands_in_the_page_as_text():
    decision = replace(made_decision(), warnings=("on <b>1</b> test review it needs twice the bits",))
    read = Reader(report(made_results(decision=decision), []))
    assert "Warning: on <b>1</b> test review it needs twice the bits." in " ".join(read.text)


def test_what_was_not_measured_is_left_out_with_a_word():
    bare = tuple(ModelResults(name, "ngram", "word", "v") for name in ("kn5", "lstm"))
    known = made_table().filter(pl.col("model").is_in(["kn5", "lstm"])).select(pl.exclude("^(gap|.*_(lo|hi)|mega.*)$"))
    known = known.drop("score_seconds", "tokens_per_second", "parameters", "fit_seconds")
    results = made_results(models=bare, table=known, winner="lstm", floor=None, slices=None, decision=None,
                           version=None, champion=None, commands=(), config="")  # fmt: skip
    pictures = pictures_of(results)
    assert [picture.name for picture in pictures] == ["perplexity_by_model"]
    read = Reader(report(results, pictures))
    said = " ".join(read.text)
    for word in ("No floor", "No training curve", "No slices", "No single tokens", "Calibration was not measured",
                 "No audit was made", "The gate was not asked", "No command line"):  # fmt: skip
        assert word in said
    assert "None" not in said
    assert "nan" not in said.split()


@pytest.mark.slow
def test_figures_drawn_before_the_gate_say_what_it_decided(results, monkeypatch):
    monkeypatch.setattr(report_pictures, "png", lambda figure: b"")  # the page shows drawings, not images
    rule = RuleOutcome("exposure", True, "below the limit of 12 bits")
    decided = replace(results, decision=replace(results.decision, rules=(rule,)))
    undecided = [one.drawn for one in pictures_of(replace(results, decision=None, version=None, champion=None))]
    told = with_decision(undecided, decided)
    assert [(one.name, one.picture) for one in told] == [(one.name, one.drawn.picture) for one in pictures_of(decided)]
    assert any("The gate's rule: passed" in one.finding for one in told)


@pytest.mark.slow
def test_a_model_that_calls_reviews_impossible_does_not_break_the_page():
    infinite = made_table().with_columns(
        open_bits_per_byte=pl.when(pl.col("model") == "lstm+cache").then(math.inf).otherwise("open_bits_per_byte"),
        perplexity=pl.when(pl.col("model") == "lstm+cache").then(math.inf).otherwise("perplexity"),
        impossible=pl.when(pl.col("model") == "lstm+cache").then(3).otherwise("impossible"),
        gain=pl.lit(None, pl.Float64), gap=pl.lit(None, pl.Float64),
    )  # fmt: skip
    results = made_results(table=infinite, slices=None, models=tuple(ModelResults(name) for name in LEVELS))
    said = " ".join(Reader(report(results, pictures_of(results))).text)
    assert "infinite open bits per byte" in said
    assert "3 reviews" in said


def test_a_run_whose_every_model_calls_a_review_impossible_has_a_page(results):
    infinite = results.table.with_columns(open_bits_per_byte=math.inf, perplexity=math.inf, impossible=1)
    bare = made_results(table=infinite, slices=None, models=tuple(ModelResults(name) for name in LEVELS))
    pictures = pictures_of(bare)
    assert "quality_size_cost" not in [picture.name for picture in pictures]
    assert "infinite" in report(bare, pictures)


# ---- words


def test_the_headline_says_who_won_by_how_much_and_what_came_of_it(results):
    said = report_words.headline(results)
    assert said.startswith("lstm+cache won: 0.8000 open bits per byte on 680 test reviews")
    assert "(95% interval 0.7880 to 0.8128)" in said
    assert "20.0% fewer than the baseline kn5 and 0.0340 above the floor" in said
    assert said.endswith(
        "promoted to champion as version 3: it is better than the champion by 2.44% of its bits per byte."
    )


@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({"decision": None}, "The gate was not asked: the registry is as it was."),
        ({"decision": made_decision(False), "champion": 2}, "not promoted, version 2 stays champion: noise | or luck."),
        ({"decision": made_decision(False), "champion": None}, "not promoted, there is no champion: noise | or luck."),
    ],
)
def test_a_winner_that_was_not_promoted_is_said_to_be_so(changes, ending):
    assert report_words.headline(made_results(**changes)).endswith(ending)


def test_a_winner_worse_than_the_baseline_is_said_to_need_more(results):
    said = report_words.headline(replace(results, winner="nplm"))
    assert "5.0% more than the baseline kn5" in said


def test_the_baseline_is_not_compared_with_itself(results):
    assert "baseline" not in report_words.headline(replace(results, winner="kn5"))


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.8, "0.8000"), (12.3456, "12.35"), (774.23, "774.2"), (2494.6, "2,495"), (math.inf, "infinite"), (None, "–"),
     (math.nan, "–"), (0.0, "0.000"), (1e-5, "1.000e-05")],
)  # fmt: skip
def test_amounts_are_shown_with_four_digits(value, said):
    assert report_words.amount(value) == said


def test_the_slice_with_the_most_bits_is_named(results):
    own = results.slices.filter((pl.col("model") == results.winner) & (pl.col("dimension") == "stars"))
    worst = own.sort("open_bits_per_byte").row(-1, named=True)
    assert f"the most bits at “{worst['slice']}”" in report_words.said_of_slices(results, "stars")
    assert report_words.said_of_slices(results, "weather") == ""


@pytest.mark.long
def test_a_dimension_of_a_single_slice_is_not_drawn(results):
    few = results.slices.filter((pl.col("dimension") != "stars") | (pl.col("slice") == results.slices.filter(
        pl.col("dimension") == "stars")["slice"][0]))  # fmt: skip
    drawn = {picture.name for picture in pictures_of(replace(results, slices=few))}
    assert "by_stars" not in drawn
    assert "by_length" in drawn


def test_slices_that_are_surely_lost_are_named_all(results):
    said = report_words.said_of_worst(results)
    lost = results.slices.filter((pl.col("model") == results.winner) & pl.col("surely_worse"))
    assert all(f"{row['dimension'].replace('_', ' ')} {row['slice']}" in said for row in lost.to_dicts())


def test_a_winner_that_pays_more_than_it_expected_is_surer_than_it_should_be(results):
    model = results.model("lstm")
    for factor, verdict in ((0.5, "surer than it should be"), (2.0, "less sure than it could be")):
        tokens = model.tokens.with_columns(entropy=pl.col("nats") * factor)
        assert report_words.said_of_certainty([replace(model, tokens=tokens)], "lstm").endswith(f"{verdict}.")


def test_a_worst_slice_that_is_infinite_is_said_to_be(results):
    own = (pl.col("model") == results.winner) & (pl.col("dimension") == "stars") & (pl.col("slice") == "3")
    endless = {"open_bits_per_byte": math.inf, "excess": None, "gain": None}
    slices = results.slices.with_columns(
        pl.when(own).then(pl.lit(value)).otherwise(name).alias(name) for name, value in endless.items()
    )
    changed = replace(results, slices=slices)
    assert report_words.said_of_worst(changed).startswith("Worst: stars 3, infinite.")
    assert "| stars: 3 | " in model_card(changed, "reviewlm")
    assert "| infinite |" in model_card(changed, "reviewlm")


def test_adaptive_models_are_named_apart_where_the_best_of_cost_and_of_training_are_named(results):
    costs, curves = report_words.said_of_costs(results), report_words.said_of_curves(results)
    static, adaptive = costs.split("Not beaten among models that adapt: ")
    assert (static.startswith("Not beaten among static models: "), adaptive) == (True, "lstm+cache.")
    assert "lstm+cache" not in static
    static, adaptive = curves.split("Lowest validation perplexity of the models that adapt to what they read: ")
    assert "lstm+cache" not in static
    assert adaptive.startswith("lstm+cache with")


def test_the_lowest_perplexity_is_that_of_kept_weights_on_all_validation_reviews(results):
    models = [replace(model, kept=(9.0, 1.5)) if model.name == "gru" else model for model in results.models]
    assert "gru with 1.500 after 9 tokens" in report_words.said_of_curves(replace(results, models=models))


# ---- tables


def test_figures_stand_above_their_intervals(results):
    row = next(row for row in report_tables.models(results) if row["model"].startswith("lstm+cache"))
    assert row["model"] == "lstm+cache (word), continuous cache"
    assert row["open bits/byte"] == "0.8000\n(0.7880 to 0.8128)"
    assert row["hit@1"] == "50.00%"
    assert row["vs baseline"] == "-20.00%", "without an interval there is none to show"
    assert "impossible" not in row


def test_a_gain_stands_above_its_interval_and_one_that_is_none_has_none(results):
    gain = pl.col("gain")
    known = results.table.with_columns(gain_lo=gain - 0.011, gain_hi=gain + 0.012)
    none = pl.when(pl.col("model") != "kn5")
    known = known.with_columns(none.then(pl.col(name)).alias(name) for name in ("gain", "gain_lo", "gain_hi"))
    rows = {row["model"]: row for row in report_tables.models(replace(results, table=known))}
    assert rows["lstm+cache (word), continuous cache"]["vs baseline"] == "-20.00%\n(-21.20% to -18.90%)"
    assert rows["kn5 (word)"]["vs baseline"] == "–"
    assert rows["kn5 (word)"]["oov"] == "400\n(0.69%)"


def test_rules_that_failed_come_first():
    outcomes = [row["outcome"] for row in report_tables.rules(made_decision(False))]
    assert outcomes == ["failed", "passed", "not applicable"]


def test_the_audit_stands_beside_real_reviews(results):
    rows = {row["figure"]: row for row in report_tables.audit(results)}
    assert rows["8-grams found in training"]["real reviews"] == "9.0%"
    assert rows["8-grams found in training"]["lstm"] == "9.8%"
    assert list(rows["distinct words"])[:4] == ["figure", "better", "real reviews", "lstm+cache"]
    assert rows["8-grams found in training"]["better"] == "as real reviews"
    assert rows["highest exposure of a canary in bits"]["better"] == "lower"
    assert "stars told from the text agree" not in rows  # no model has the figure


def test_policies_are_said_once_where_all_models_agree(results):
    rows = report_tables.policies(results)
    assert [row["of"] for row in rows if row["what"] == "log base"] == ["all"]
    units = {row["is"]: row["of"] for row in rows if row["what"] == "unit"}
    assert units["char"] == "lstm-char"


def test_numbers_stand_to_the_right_with_their_heads():
    read = Reader(page_of(PageTable.of([{"name": "a<b", "count": 1_234, "share": Amount("5 %"), "yes": True}])))
    kinds = [attrs.get("class") for attrs in read.all("th")]
    assert kinds == [attrs.get("class") for attrs in read.all("td")] == [None, "number", "number", None]
    assert [text for text in read.text if text.strip()][-4:] == ["a<b", "1,234", "5 %", "True"]


# ---- surprisal


@pytest.mark.parametrize(
    ("bits", "level"), [(0, 0), (0.99, 0), (1, 1), (3, 2), (6, 3), (9.9, 3), (10, 4), (math.inf, 4)]
)
def test_levels_of_surprisal(bits, level):
    assert surprisal.level_of(bits) == level


def test_each_token_says_its_probability_rank_and_bits():
    ln2 = math.log(2)
    tokens = pl.DataFrame({
        "review_id": ["a"] * 4, "position": [1, 0, 2, 3], "token": ["<b>", "good", "\n", "<eos>"],
        "nats": [12 * ln2, 0.5 * ln2, math.inf, 2 * ln2], "rank": [700, 1, None, 3],
    })  # fmt: skip
    read = Reader(page_of(surprisal.heat_map([surprisal.TokenSurprisals("lstm", "word", tokens)], ["a", "b"])))
    spans = [attrs for attrs in read.all("span") if "title" in attrs]
    assert [attrs["class"] for attrs in spans] == ["s0", "s4", "s4", "s1"]
    assert spans[0]["title"] == "p = 70.7%, rank 1, 0.5 bits"
    assert spans[1]["title"] == "p = 2.4e-04, rank 700, 12.0 bits"
    assert spans[2]["title"].startswith("p = 0.0e+00, never suggested")
    assert [text for text in read.text if text in ("good", "<b>", "↵", "∎")] == ["good", "<b>", "↵", "∎"]
    assert len(read.all("h3")) == 2
    assert "called impossible" in " ".join(read.text)


def test_pieces_of_words_keep_the_spaces_that_they_bring():
    assert [surprisal.shown(" the", unit) for unit in ("word", "bpe")] == ["the", " the"]
    assert surprisal.shown(" ", "char") == " "
    assert surprisal.shown("\n", "word") == "↵"


def test_the_image_has_a_box_per_token_in_the_tint_of_its_level_and_wraps():
    tokens = pl.DataFrame({"review_id": ["a"] * 30, "position": range(30), "token": ["delicious"] * 30,
                           "nats": [20.0] * 10 + [0.0] * 20, "rank": [1] * 30})  # fmt: skip
    figure = surprisal_figure([surprisal.TokenSurprisals("kn5", "word", tokens)], ["a"])
    (axes,) = figure.axes
    boxes, lines = axes.collections
    tints = [to_hex(colour) for colour in boxes.get_facecolor()]
    assert tints == [*surprisal.TINTS, *[surprisal.TINTS[4]] * 10, *[surprisal.TINTS[0]] * 20]
    words = [text.get_position() for text in axes.texts if text.get_text() == "delicious"]
    assert [sum(y == line + 0.5 for _, y in words) for line in (3, 4, 5)] == [10, 10, 10]
    assert max(x for x, _ in words) + 9 <= 100
    assert len(lines.get_segments()) == len(tints)


def test_the_tints_can_be_read_and_told_apart_without_colour():
    """Contrast of the dark text after WCAG 2.2; the line below grows with the level."""

    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    levels = [luminance(tint) for tint in surprisal.TINTS]
    assert all((level + 0.05) / (luminance("#1b1b1b") + 0.05) >= 4.5 for level in levels)
    assert levels == sorted(levels, reverse=True)
    assert all(f"border-bottom-width: {level}px" in page_of() for level in range(5))


def test_chosen_reviews_are_spread_from_easy_to_hard_and_neither_short_nor_long():
    rows = [
        {"review_id": f"r{number:02d}", "nats": float(number)}
        for number in range(20) for _ in range(20 if number % 2 else 5)
    ]  # fmt: skip
    assert surprisal.choose_reviews(pl.DataFrame(rows), 2) == ["r05", "r15"]
    assert surprisal.choose_reviews(pl.DataFrame(rows[:5]), 3) == ["r00"]


def test_where_few_reviews_are_of_a_good_length_those_that_are_nearly_so_are_chosen():
    """With real reviews a choice among all could fall on one of 900 tokens, which fills pages."""
    lengths = {"brief": 2, "short": 11, "good": 30, "long": 70, "longer": 400, "endless": 900}
    rows = [{"review_id": name, "nats": 1.0} for name, length in lengths.items() for _ in range(length)]
    assert sorted(surprisal.choose_reviews(pl.DataFrame(rows), 4)) == ["brief", "good", "long", "short"]


def test_of_a_long_review_the_beginning_is_shown_with_the_cost_of_the_whole():
    tokens = pl.DataFrame({"review_id": ["a"] * 200, "position": range(200), "token": ["so"] * 200,
                           "nats": [math.log(2)] * 200, "rank": [1] * 200})  # fmt: skip
    ((passage,),) = surprisal.heat_map([surprisal.TokenSurprisals("kn5", "word", tokens)], ["a"]).reviews
    assert len(passage.tokens) == 120
    assert passage.cost == "200 bits, 1.00 a token; the first 120 of 200 tokens"


def test_the_distance_to_the_floor_is_the_gap_over_the_reviews_that_the_grammar_can_have_written():
    table = made_table().with_columns(gap=pl.when(pl.col("model") == "lstm+cache").then(-0.0021).otherwise("gap"))
    assert "and 0.0021 below the floor" in report_words.headline(made_results(table=table))
