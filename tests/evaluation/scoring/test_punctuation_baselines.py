"""Tags without a network: by rules, and the usual one of each word."""

from reviewlm.evaluation.scoring.punctuation import UsualTags, by_rules
from reviewlm.models.written_words import put_back, taken_off


def test_rules_write_the_beginning_i_and_the_end() -> None:
    words = ["when", "i", "came", "i'll", "say"]
    assert put_back(words, by_rules(words)) == "When I came I'll say."
    assert by_rules([]) == []
    assert put_back(["fine"], by_rules(["fine"])) == "Fine."


def test_the_usual_tag_is_the_most_frequent_and_of_equals_the_first() -> None:
    texts = [taken_off(text) for text in ("We like Chicago, Chicago, chicago", "so so, we We")]
    usual = UsualTags(texts)
    words = ["we", "in", "chicago", "so", "new"]
    assert put_back(words, usual(words)) == "We in Chicago, so new."
    assert usual([]) == []
