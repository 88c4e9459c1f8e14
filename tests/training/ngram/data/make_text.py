"""Write the texts of the parity tests: invented sentences from a small seeded grammar. Same bytes every time.

python make_text.py
"""

from __future__ import annotations

import random
from pathlib import Path

HERE = Path(__file__).parent
WORDS = """
lamp|kettle|blanket|bicycle|garden|window|teapot|drawer|ladder|basket|mirror|carpet|bench|stove|candle
small|bright|heavy|quiet|broken|clean|yellow|wooden|dusty|round|warm|cheap|crooked|plain
stands|leaks|shines|rattles|works|sags|holds|squeaks
in the hall|by the door|under the stairs|on the roof|near the old barn|at the market
my aunt|the neighbour|our teacher|a clerk|the gardener|nobody
says|thinks|told us|insists|forgot
"""
THINGS, QUALITIES, DEEDS, PLACES, PEOPLE, SAYING = (
    line.split("|") for line in WORDS.split("\n")[1:-1]
)
RARE = [f"item{number:03d}" for number in range(600)]


def pick(
    words: list[str],
    draw: random.Random,
    tail: float = 0.9,
) -> str:
    """Draw by rank, the first ones far more often; a smaller *tail* exponent reaches farther down the list."""
    return words[int(draw.paretovariate(tail)) % len(words)]


def phrase(draw: random.Random) -> str:
    """Return a noun phrase."""
    adjective = pick(QUALITIES, draw) + " " if draw.random() < 0.5 else ""
    noun = pick(RARE, draw, 0.25) if draw.random() < 0.25 else pick(THINGS, draw)
    return f"{draw.choice(['the', 'the', 'this', 'a'])} {adjective}{noun}"


def sentence(draw: random.Random) -> str:
    """Return one sentence."""
    words = f"{phrase(draw)} {pick(DEEDS, draw)} {pick(PLACES, draw)}"
    if draw.random() < 0.4:
        words = f"{pick(PEOPLE, draw)} {pick(SAYING, draw)} that {words}"
    if draw.random() < 0.3:
        words = f"{words} and {phrase(draw)} {pick(DEEDS, draw)}"
    return f"{words} {draw.choice(['.', '.', '!'])}"


def write(name: str, lines: list[str]) -> None:
    """Write one text, one sentence a line."""
    (HERE / name).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def main() -> None:
    """Write every text."""
    draw = random.Random(7)
    train = [sentence(draw) for _ in range(260)]
    train[20] = ""  # a sentence without words
    train[30] = train[30].replace(" ", "\t", 2)  # tabs separate words too
    train[40] = "  " + train[40].replace(" ", "  ") + " "
    write("train.txt", train)
    # The word seen last is frequent: lmplz's end-of-stream quirk then moves the counts of counts.
    write(
        "quirk.txt", train[:200] + [f"{pick(PEOPLE, draw)} and the zebra zebra" for _ in range(9)]
    )
    write("tiny.txt", ["the lamp shines", "the kettle leaks", "the lamp leaks .", "nobody thinks"])
    write("short.txt", ["lamp", "kettle", "lamp", "", "stove", "lamp"])
    write("held_out.txt", [sentence(draw) for _ in range(60)] + ["", "one wholly unknown line"])


if __name__ == "__main__":
    main()
