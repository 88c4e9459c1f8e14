"""Tags without a network: by rules, and the usual one of each word."""

from reviewlm.evaluation.scoring.punctuation import UsualTags, by_rules
from reviewlm.models.written_words import put_back, taken_off


def test_rules_write_what_every_sentence_has() -> None:
    words = ["when", "i", "came", "i'll", "say"]
    assert put_back(words, by_rules(words)) == "When I came I'll say."
    assert by_rules([]) == []
    assert put_back(["fine"], by_rules(["fine"])) == "Fine."


def test_the_usual_tag_is_the_first_of_the_most_frequent_ones() -> None:
    texts = [taken_off(text) for text in ("We like Chicago, Chicago, chicago", "so so, we We")]
    usual = UsualTags(texts)
    words = ["we", "in", "chicago", "so", "new"]
    assert put_back(words, usual(words)) == "We in Chicago, so new."
    assert usual([]) == []
