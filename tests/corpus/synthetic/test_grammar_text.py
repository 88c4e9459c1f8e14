"""What the embedded corpus reads like: agreement, references, tone, typing errors, tail."""

import re
from collections import Counter
from functools import cache
from random import Random

import pytest

from corpus.synthetic import grammar, grammar_domains, typos
from corpus.synthetic.automaton import BIND, BY, PICK, SET, SLOT, TEXT, Automaton, By, Domain
from corpus.synthetic.lexicon import CATEGORIES
from models.text.normal_form import NormalForm


@cache
def sample(count=4_000):
    draw = Random(7)
    return [(stars, *grammar.write_review(stars, draw.random)[:2]) for stars in (1 + i % 5 for i in range(count))]


def value(values, name):
    return values[grammar.automaton().variables[name]]


def test_weights_of_every_choice_sum_to_one():
    for op in grammar.automaton().ops:
        tables = [op[3]] if op[0] == PICK else [logs for _, _, logs in op[2].values()] if op[0] == BIND else []
        for logs in tables:
            assert sum(map(pow, [2.718281828459045] * len(logs), logs)) == pytest.approx(1, abs=1e-9)


def test_no_word_is_torn_by_two_parts_of_a_template():
    # The scorer reads whole tokens, so no part may begin in the middle of a word.
    for _, text, _ in sample(300):
        assert not re.search(r"[a-z][A-Z]|\s\s(?<!\n\n)|[.!?][A-Za-z]| [.,!?]", text), text


@pytest.mark.slow
def test_every_text_is_in_normal_form():
    normal = NormalForm()
    for _, text, _ in sample():
        assert normal.apply(text) == text


def test_every_form_of_every_item_is_in_normal_form():
    normal = NormalForm()
    texts = {text for op in grammar.automaton().ops if op[0] == TEXT for text in [op[1]]}
    texts |= {form for domain in grammar.automaton().domains.values() for table in domain.forms.values()
              for form in table.values()}
    for text in texts:
        assert normal.apply(f"a{text}b") == f"a{text}b"


def test_no_path_reads_a_variable_that_was_never_given_a_value():
    automaton = grammar.automaton()
    names = list(automaton.variables)
    start = frozenset({automaton.variables["stars"], *(i for i, name in enumerate(names) if name.startswith("has_"))})
    pending, seen = [(automaton.start, start)], set()
    while pending:
        state, known = pending.pop()
        if (state, known) in seen:
            continue
        seen.add((state, known))
        op = automaton.ops[state]
        targets = {PICK: lambda op=op: op[2], BY: lambda op=op: op[2].values(), TEXT: lambda op=op: [op[3]],
                   SLOT: lambda op=op: [op[3]], SET: lambda op=op: [op[3]], BIND: lambda op=op: [op[4]]}
        if op[0] == BY:
            assert op[1] in known, names[op[1]]
        if op[0] == BIND:
            assert op[3] < 0 or op[3] in known
            # Only what rules depend on: following all 2^n sets of mentioned names would take for ever.
            if not automaton.domains[names[op[1]]].lazy:
                known = known | {op[1]}
        pending += [(target, known) for target in targets.get(op[0], list)()]


@pytest.mark.parametrize("verb", ["was", "were"])
def test_verbs_agree_with_the_dish_in_number(verb):
    entries = [entry for category in CATEGORIES.values() for entry in category.dishes.split(", ")]
    plural = {entry.rstrip("+") for entry in entries if "+" in entry}
    singular = {entry for entry in entries if "+" not in entry}
    right, wrong = (singular, plural) if verb == "was" else (plural, singular)
    found = Counter()
    for _, text, _ in sample():
        for item in re.findall(rf"The ([a-z' ]+?) {verb} ", text):
            found["right"] += item in right
            assert item not in wrong, text
    assert found["right"] > 20


def test_names_that_come_back_are_the_ones_that_came_up():
    again = 0
    for _, text, values in sample():
        if match := re.search(r"(?:Ask for|ask for|Thank you|Thanks again|Thanks so much),? ([A-Z]\w+)[.!]", text):
            if match[1] in value(values, "place"):
                continue
            assert match[1] == value(values, "person")
            assert text.index(match[1]) < match.start(1), text
            again += 1
    assert again > 50


def test_party_size_and_dish_are_remembered():
    sizes = dishes = 0
    for _, text, values in sample():
        if match := re.search(r"(?:[Aa]ll|The) (\w+) of us", text):
            assert f"of {match[1]}" in text[: match.start()]
            sizes += 1
        if match := re.search(r"(?:that|those) ([a-zñ' ]+)[.!]", text):
            dishes += match[1] == value(values, "dish")
    assert sizes > 20
    assert dishes > 50


def test_tone_follows_the_stars():
    loved = Counter(stars for stars, _, values in sample() if value(values, "food") == "love")
    each = len(sample()) / 5
    for stars, (love, _, _) in grammar_domains.FOOD.items():
        assert loved[int(stars)] / each == pytest.approx(love / 100, abs=4 * (0.25 / each) ** 0.5)


def test_typing_errors_come_at_the_known_rate(monkeypatch):
    draw, automaton = Random(9), grammar.automaton()
    words = wrong = 0
    for number in range(2_000):
        state = draw.getstate()
        intended = automaton.sample({"stars": str(1 + number % 5)}, draw.random)
        draw.setstate(state)
        written = grammar.write_review(1 + number % 5, draw.random)[0]
        pairs = list(zip(typos.TOKEN.findall(intended.text), typos.TOKEN.findall(written), strict=True))
        assert sum(map(typos.eligible, typos.TOKEN.findall(intended.text))) == intended.eligible
        words += intended.eligible
        wrong += sum(a != b for a, b in pairs)
        assert all(a == b or b in typos.corruptions(a) for a, b in pairs)
    error = (grammar.TYPO_RATE / words) ** 0.5
    assert wrong / words == pytest.approx(grammar.TYPO_RATE, abs=4 * error)


def test_mistyped_words_follow_their_table():
    draw, count = Random(1), 20_000
    seen = Counter(typos.corrupt("food", draw.random()) for _ in range(count))
    table = typos.corruptions("food")
    assert sum(table.values()) == pytest.approx(1)
    # fod: dropping either o; foood: doubling either of them.
    assert table["fod"] == pytest.approx(0.45 * 2 / 3)
    assert table["foood"] == pytest.approx(0.25 * 2 / 3)
    chi_square = sum((seen[word] - count * share) ** 2 / (count * share) for word, share in table.items())
    assert chi_square < 30


@pytest.mark.parametrize("word", ["food", "really", "noodles", "aaaa"])
def test_what_was_meant_is_found_from_what_was_written(word):
    for surface, share in typos.corruptions(word).items():
        assert typos.intended(surface, {word, "other"}) == {word: share}


def test_words_have_a_zipf_tail():
    # Counted once per review: a name that comes up tends to come back.
    counts = Counter(token for _, text, _ in sample() for token in set(typos.TOKEN.findall(text)) if token.isalpha())
    ranked = [count for _, count in counts.most_common()]
    assert len(ranked) > 4_000
    assert sum(count == 1 for count in ranked) > 0.3 * len(ranked)
    assert sum(ranked[:100]) > 0.5 * sum(ranked)


def test_lengths_vary_around_seventy_words():
    lengths = sorted(len(text.split()) for _, text, _ in sample())
    assert 60 <= sum(lengths) / len(lengths) <= 90
    assert lengths[len(lengths) // 20] < 40
    assert lengths[-len(lengths) // 20] > 105


@pytest.mark.parametrize(("template", "words"), [
    ("[a", "not closed"), ("{nobody}", "no rule"), ("a]", "unexpected"),
    ("[a*0|b]", "positive"), ("{!x}", "no variable"),
])
def test_bad_templates_are_refused(template, words):
    with pytest.raises(ValueError, match=words):
        Automaton({"start": template}, {})


def test_rules_that_miss_a_value_or_loop_are_refused():
    domains = {"v": Domain({"": {"a": 1, "b": 1}})}
    with pytest.raises(ValueError, match="no rule for 'v' = 'b'"):
        Automaton({"start": By("v", {"a": "x"})}, domains)
    with pytest.raises(ValueError, match="ends with itself"):
        Automaton({"start": "a[|{start}]"}, domains)
