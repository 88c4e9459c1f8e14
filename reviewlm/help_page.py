"""Arrange the help page: a line for each command, then the groups, and an example for each command."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

EXAMPLES = {
    "reviewlm": ("demo", "run --input reviews.json --minutes 15", 'suggest "the food was"'),
    "run": (
        "--input reviews.json --minutes 15",
        "--input reviews.json.gz --preset small",
        "--input reviews.json --until evaluate",
        "--input reviews.json --set models.lstm.hidden=512 --set seed=7",
    ),
    "data ingest": ("--input 'exports/*.csv'",),
    "models sweep": ("--model lstm --trials 20",),
    "compare": ("champion previous", "3 4 --json"),
    "version lineage": ("champion",),
    "version reproduce": ("champion",),
    "version rescore": ("--all",),
    "data drift": ("--input new_reviews.json",),
    "generate": (
        "--stars 2 --n 3",
        '--prompt "the tacos" --temperature 0.6',
        '--stars 5 --beam 5 --require latte --require "sweet potato fries"',
    ),
    "suggest": ('"the food was"',),
    "score": ("texts.txt", "- --json"),
    "models classify fit": ("--input reviews.json", "--input reviews.json --set classification.label=polarity"),
    "models classify predict": ("texts.txt", "- --model reviewlm-polarity@champion"),
    "models classify weights": ("--model reviewlm-polarity@champion --top 20",),
    "models classify compare": ("champion previous",),
    "version export": ("--model reviewlm@champion --to exported", "--part lstm --to exported"),
    "serve": ("--host 0.0.0.0 --port 8000",),
    "home alerts set": ("--file addresses.txt", "json://hooks.example.com/reviewlm"),
    "home tokens add": ("dashboard",),
    "home tokens remove": ("dashboard",),
    "promote": ('--version 3 --why "agreed in review"',),
    "rollback": ("--to 2",),
    "data checks suggest": ("--table reviews.parquet --out suite.json",),
    "data checks run": ("--table reviews.parquet --suite suite.json",),
    "data quarantine show": ("--input reviews.json",),
    "data quarantine export": ("--out bad.jsonl",),
    "data synth": ("--out reviews.json --reviews 50000",),
    "services start": ("--serve",),
    "home gc": ("--dry-run", "--set upkeep.runs=3"),
    "doctor": ("--json",),
    "check": ("--input reviews.json", "--input reviews.csv --preset demo"),
    "home backup": ("--to backup.tar.gz", "--to small.tar.gz --without-store"),
    "home restore": ("backup.tar.gz --home restored",),
    "config show": ("--changed --preset demo", "models.lstm"),
    "config list": ("dropout",),
    "config explain": ("promotion.confidence", "models.lstm.hidden"),
    "models embed": ("--input reviews.json", "--set embedding.kind=cbow --out vectors.vec"),
    "models neighbours": ("delicious pizza", "--analogy waiter waitress he", "good --vectors glove.txt"),
    "models nearest": ('"the tacos were cold"', '"rude waiter" --input reviews.json --n 10'),
    "models punctuate fit": ("--input reviews.json",),
    "models punctuate write": ('"the food was great"', "plain.txt"),
    "models ngram fit": ("--text corpus.txt --order 5 --arpa model.arpa",),
    "models ngram score": ("--arpa model.arpa --text test.txt",),
    "models ngram suggest": ('"the food was" --arpa model.arpa',),
    "models ngram generate": ("--arpa model.arpa --n 3",),
}
"""Examples by command: what follows its name; those of "reviewlm" are of the first page."""


class OrderedHelp(TyperGroup):
    """Command group whose help page shows its commands, then the groups in it, with whole first sentences."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the names and first sentences of the commands."""
        visible = {name: each for name, each in self.commands.items() if not each.hidden}
        for title, groups in (("Commands", False), ("Groups", True)):
            rows = [(name, first_sentence(each.help)) for name, each in visible.items()
                    if hasattr(each, "commands") is groups]  # fmt: skip
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def first_sentence(help_text: str | None) -> str:
    """Return the first sentence of a command's help."""
    text = " ".join((help_text or "").split())
    end = text.find(". ")
    return text if end < 0 else text[: end + 1]


def with_examples(command: Any, path: str = "") -> Any:
    """Put the examples of a command, and of those in it, at the end of their help."""
    lines = EXAMPLES.get(path or "reviewlm", ())
    if lines:
        shown = "\n".join("  " + " ".join(filter(None, ("reviewlm", path, line))) for line in lines)
        command.epilog = f"\b\nExample{'s' * (len(lines) > 1)}:\n{shown}"
    for name, inside in getattr(command, "commands", {}).items():
        with_examples(inside, f"{path} {name}".strip())
    return command


def show_version(enabled: bool) -> None:
    """Write the version and end, if --version was given."""
    if enabled:
        from reviewlm import __version__, terminal

        terminal.say(f"reviewlm {__version__}")
        raise typer.Exit
