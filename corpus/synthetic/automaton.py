"""Compile sentence templates to a state machine that writes random texts and computes the probability of any text.

It is a weighted automaton with registers (its variables), kept as one flat table.

A grammar is a dictionary of rules over variables, as YAML holds it. A rule is a template; or a list of rules, one of
which is drawn (`[weight, rule]`, or weight 1); or `{by: variable, value: rule, …}`, which depends on the value of the
variable, with "" for all values that are not listed. Inside a template:

    {rule}             the text of that rule
    [a|b*3|]           one of these, here with weights 1, 3 and 1 (the last is empty)
    {!variable}        draw the value of the variable now, without writing it
    {variable}         write the value in its form "name";  {variable.form} in another form
    {+variable.form}   {!variable} and {variable.form}
    {variable=value}   give the variable a value

The table has one entry per state, and each choice is one draw from explicit weights. So the latent choices can be
enumerated: `corpus/synthetic/grammar.py` sums over all choices that lead to a given text.

Simulate typing errors at a known rate: a memoryless channel from intended words to written ones.

Only words of four or more lower-case ASCII letters are mistyped, each independently with the same probability. A
mistyped word loses a letter, doubles one, or swaps two neighbours; its first letter stays. All outcomes of a word and
their probabilities can be listed, so the channel can be inverted exactly (`intended_words`).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, chain
from math import log
from typing import Any

TOKEN = re.compile(r"[\w'-]+|[^\w'-]")
"""Pattern of the tokens of a text: words (with apostrophes and hyphens), and every other character by itself."""
SIGN = re.compile(r"[{\[|\]]")
"""What ends a plain text in a template."""
KINDS = {
    "drop": 0.45,
    "swap": 0.3,
    "double": 0.25,
}
_ELIGIBLE = re.compile(r"[a-z]{4,}")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
PICK, TEXT, SLOT, BIND, BY, SET, END = range(7)


def eligible(token: str) -> bool:
    """Return whether a token can be mistyped."""
    return _ELIGIBLE.fullmatch(token) is not None


def count_eligible(text: str) -> int:
    """Return the number of tokens of a text that can be mistyped."""
    return sum(map(eligible, TOKEN.findall(text)))


@lru_cache(maxsize=100_000)
def corruptions(word: str) -> dict[str, float]:
    """Return all possible errors of a word with their probabilities, given that it is mistyped; they sum to 1."""
    outcomes: dict[str, list[str]] = {
        "drop": [],
        "double": [],
        "swap": [],
    }
    for i in range(1, len(word)):
        outcomes["drop"].append(word[:i] + word[i + 1 :])
        outcomes["double"].append(word[: i + 1] + word[i:])
        if i + 1 < len(word) and word[i] != word[i + 1]:
            outcomes["swap"].append(_swap(word, i))

    possible = {kind: share for kind, share in KINDS.items() if outcomes[kind]}
    whole = sum(possible.values())
    table: dict[str, float] = {}
    for kind, share in possible.items():
        for surface in outcomes[kind]:
            table[surface] = table.get(surface, 0.0) + share / whole / len(outcomes[kind])

    return table


def _swap(word: str, i: int) -> str:
    """Return a word with the letters at i and i + 1 exchanged."""
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


@lru_cache(maxsize=100_000)
def _cumulative_shares(word: str) -> tuple[list[float], list[str]]:
    table = corruptions(word)
    return list(accumulate(table.values())), list(table)


def corrupt(word: str, uniform: float) -> str:
    """Return the mistyped word selected by a number drawn uniformly from [0, 1)."""
    cumulative, surfaces = _cumulative_shares(word)
    return surfaces[min(bisect_right(cumulative, uniform), len(surfaces) - 1)]


def intended_words(surface: str, vocabulary: Container[str]) -> dict[str, float]:
    """Return the words of the vocabulary that can be mistyped as *surface*, with P(surface | word, mistyped)."""
    # The first letter never changes, so only the rest has to be inverted.
    candidates = {surface[:i] + surface[i + 1 :] for i in range(1, len(surface))}
    candidates.update(_swap(surface, i) for i in range(1, len(surface) - 1))
    for i in range(1, len(surface) + 1):
        candidates.update(surface[:i] + letter + surface[i:] for letter in _LETTERS)

    words = {}
    for word in sorted(candidates):
        if (
            word in vocabulary
            and eligible(word)
            and (probability := corruptions(word).get(surface))
        ):
            words[word] = probability

    return words


Rule = Any
"""The type is recursive, so it is not written out for the type checker."""


@dataclass(frozen=True)
class Domain:
    """The possible values of a variable, with their weights and written forms.

    Args:
        tables: Weights of the values, for each value of the variable `key` ("" if there is no key).
        forms: For each form the text of each value; `{variable}` writes the form "name".
        key: The variable that decides which table is used.
        lazy: Whether a scorer should wait until it reads the value in the text, instead of trying all values. The
            first written form of a lazy variable should differ between values (otherwise scoring is slow), `key` must
            not change in between, and no rule may depend on the variable.
        initial: The value before any draw or assignment.
    """

    tables: Mapping[str, Mapping[str, float]]
    forms: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    key: str = ""
    lazy: bool = False
    initial: str = ""

    def values(self) -> list[str]:
        """Return all values in the order of the tables."""
        return list(dict.fromkeys(chain.from_iterable(self.tables.values())))


class Automaton:
    """The compiled grammar.

    Args:
        rules: The rules by name; the start is "start".
        domains: The variables, in the order of their registers.
        typo_rate: Probability that a word is mistyped, for words that can be mistyped.

    Raises:
        KeyError: A template uses an unknown name.
        ValueError: A rule ends with itself, or a template has brackets without a partner.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        domains: Mapping[str, Domain],
        typo_rate: float = 0.0,
    ) -> None:
        self.domains = dict(domains)
        self.typo_rate = typo_rate
        self.variables = {name: index for index, name in enumerate(domains)}
        self.ops: list[tuple[Any, ...]] = [(END,)]
        self._rules = rules
        self._memo: dict[tuple[str, int], int] = {}
        self._tables = {name: _draws(domain) for name, domain in domains.items()}
        self._forms = {}
        for name, domain in domains.items():
            for form, texts in domain.forms.items():
                counted = {value: (text, count_eligible(text)) for value, text in texts.items()}
                self._forms[name, form] = counted

        self.start = self._reference("start", 0)

    def initial(self, given: Mapping[str, str]) -> tuple[str, ...]:
        """Return the values of all variables at the start."""
        return tuple(given.get(name, domain.initial) for name, domain in self.domains.items())

    def sample(
        self, given: Mapping[str, str], uniform: Callable[[], float]
    ) -> tuple[str, tuple[str, ...], int]:
        """Draw a text without typing errors; return it, the values of all variables, and `count_eligible` of the text.

        Args:
            given: Values of variables that the caller sets.
            uniform: Returns the next number from [0, 1).
        """
        ops = self.ops
        state = self.start
        eligible_words = 0
        pieces: list[str] = []
        values = list(self.initial(given))

        while True:
            op = ops[state]
            kind = op[0]
            if kind == TEXT:
                pieces.append(op[1])
                eligible_words += op[2]
                state = op[3]
            elif kind == PICK:
                choice = bisect_right(op[1], uniform())
                state = op[2][choice]
            elif kind == SLOT:
                text, count = op[2][values[op[1]]]
                pieces.append(text)
                eligible_words += count
                state = op[3]
            elif kind == BY:
                state = op[2][values[op[1]]]
            elif kind == BIND:
                cumulative, names, _ = op[2][values[op[3]] if op[3] >= 0 else ""]
                choice = bisect_right(cumulative, uniform())
                values[op[1]] = names[choice]
                state = op[4]
            elif kind == SET:
                values[op[1]] = op[2]
                state = op[3]
            else:
                return "".join(pieces), tuple(values), eligible_words

    def _add(self, op: tuple[Any, ...]) -> int:
        self.ops.append(op)
        return len(self.ops) - 1

    def _reference(self, name: str, after: int) -> int:
        """Return the first state of rule *name* if state *after* follows it; equal uses share their states."""
        if (name, after) not in self._memo:
            self._memo[name, after] = -1
            self._memo[name, after] = self._rule(self._rules[name], after)
        if self._memo[name, after] == -1:
            raise ValueError(
                f"rule {name!r} ends with itself: a loop that may write nothing cannot be scored"
            )
        return self._memo[name, after]

    def _rule(self, rule: Rule, after: int) -> int:
        if isinstance(rule, str):
            return self._sequence(_parse(rule), after)
        if isinstance(rule, Mapping):
            rules = dict(rule)
            variable = rules.pop("by")
            return self._by(variable, rules, after)

        choices = []
        for entry in rule:
            weight, chosen = entry if isinstance(entry, list) else (1.0, entry)
            choices.append((weight, self._rule(chosen, after)))

        return self._pick(choices)

    def _by(
        self,
        variable: str,
        rules: Mapping[str, Rule],
        after: int,
    ) -> int:
        targets = {value: self._rule(entry, after) for value, entry in rules.items()}
        table = {}
        for value in self.domains[variable].values():
            named = value if value in targets else ""
            table[value] = targets[named]

        return self._add((BY, self.variables[variable], table))

    def _pick(self, pairs: Sequence[tuple[float, int]]) -> int:
        cumulative, logs = _cumulative([weight for weight, _ in pairs])
        if len(pairs) == 1:
            return pairs[0][1]
        return self._add((PICK, cumulative, [state for _, state in pairs], logs))

    def _sequence(self, parts: Sequence[Any], after: int) -> int:
        for part in reversed(parts):
            after = self._part(part, after)
        return after

    def _part(self, part: Any, after: int) -> int:
        kind, content = part
        if kind == "text":
            return self._add((TEXT, content, count_eligible(content), after))
        if kind == "choice":
            return self._pick([(weight, self._sequence(parts, after)) for weight, parts in content])
        if content[0] == "!":
            return self._bind(content[1:], after)
        if content[0] == "+":
            return self._bind(content[1:].split(".")[0], self._slot(content[1:], after))
        if "=" in content:
            name, value = content.split("=")
            return self._add((SET, self.variables[name], value, after))

        is_variable = content.split(".")[0] in self.variables
        if is_variable:
            return self._slot(content, after)
        return self._reference(content, after)

    def _slot(self, content: str, after: int) -> int:
        name, _, form = content.partition(".")
        form = form or "name"
        return self._add((SLOT, self.variables[name], self._forms[name, form], after, name, form))

    def _bind(self, name: str, after: int) -> int:
        """Add a state that draws the value of a variable, by the value of its key variable if it has one."""
        key = self.domains[name].key
        key_variable = self.variables[key] if key else -1
        return self._add((BIND, self.variables[name], self._tables[name], key_variable, after))


def _cumulative(weights: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return running sums of the normalised weights and their logs; the last sum is 2, so rounding cannot matter."""
    whole = float(sum(weights))
    sums = [*accumulate(weight / whole for weight in weights[:-1]), 2.0]
    return sums, [log(weight / whole) for weight in weights]


def _draws(domain: Domain) -> dict[str, tuple[list[float], list[str], list[float]]]:
    """Return, for each table of a variable, running sums of the shares, the values, and the logs of the shares."""
    draws = {}
    for key, table in domain.tables.items():
        cumulative, logs = _cumulative(list(table.values()))
        draws[key] = (cumulative, list(table), logs)
    return draws


def _parse(template: str) -> list[Any]:
    """Return the parts of a template: ("text", str), ("choice", [(weight, parts)]) or ("name", str)."""
    return _parse_until(template, 0, "")[0]


def _parse_until(
    template: str,
    at: int,
    stops: str,
) -> tuple[list[Any], int]:
    parts: list[Any] = []
    while at < len(template) and template[at] not in stops:
        if template[at] == "{":
            end = template.index("}", at)
            parts.append(("name", template[at + 1 : end]))
            at = end + 1
        elif template[at] == "[":
            choice, at = _parse_choice(template, at + 1)
            parts.append(choice)
        else:
            sign = SIGN.search(template, at)
            end = sign.start() if sign else len(template)
            if end == at:
                raise ValueError(f"unexpected {template[at]!r} at {at} of {template!r}")
            parts.append(("text", template[at:end]))
            at = end

    return parts, at


def _parse_choice(template: str, at: int) -> tuple[Any, int]:
    options: list[tuple[float, list[Any]]] = []
    while True:
        parts, at = _parse_until(template, at, "|]")
        if at >= len(template):
            raise ValueError(f"a '[' is not closed in {template!r}")
        weight = 1.0
        if parts and parts[-1][0] == "text" and "*" in parts[-1][1]:
            text, _, number = parts.pop()[1].rpartition("*")
            weight = float(number)
            parts += [("text", text)] if text else []

        options.append((weight, parts))
        at += 1
        if template[at - 1] == "]":
            return ("choice", options), at
