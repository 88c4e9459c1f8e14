"""Arrange the help page: commands in groups, whole sentences, and an example for each command.

A new command needs a place in `GROUPS` and an entry in `EXAMPLES`; a test names those that have none.
"""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

GROUPS = {
    "Run the pipeline": ("demo", "run", "ingest", "prepare", "train", "evaluate", "sweep"),
    "Look at results": ("compare", "reports", "history", "lineage", "reproduce", "rescore", "drift"),
    "Use a model": (
        "generate", "suggest", "write", "score", "classify", "nearest", "punctuate", "export", "serve", "promote",
        "rollback",
    ),
    "Work with data": ("checks", "quarantine", "synth"),
    "Operate": (
        "ui", "worker", "doctor", "check", "drill", "alerts", "backup", "restore", "upgrade", "gc", "tracking",
        "tokens",
    ),
    "Configure": ("presets", "config"),
    "Other models": ("embed", "neighbours", "ngram"),
}  # fmt: skip
"""The groups of the help page and their commands, in the order in which they are shown."""
EXAMPLES = {
    "reviewlm": ("demo", "run --input reviews.json --minutes 15", 'suggest "the food was"'),
    "demo": ("demo",),
    "run": (
        "run --input reviews.json --minutes 15", "run --input reviews.json.gz --preset small",
        "run --input reviews.json --set models.lstm.hidden=512 --set seed=7",
    ),
    "ingest": ("ingest --input 'exports/*.csv'",),
    "prepare": ("prepare --input reviews.json",),
    "train": ("train --input reviews.json --preset small",),
    "evaluate": ("evaluate --input reviews.json",),
    "sweep": ("sweep --model lstm --trials 20",),
    "compare": ("compare champion previous", "compare 3 4 --json"),
    "reports": ("reports --open",),
    "history": ("history",),
    "lineage": ("lineage champion",),
    "reproduce": ("reproduce champion",),
    "rescore": ("rescore --all",),
    "drift": ("drift --input new_reviews.json",),
    "generate": (
        "generate --stars 2 --n 3", 'generate --prompt "the tacos" --temperature 0.6',
        'generate --stars 5 --beam 5 --require latte --require "sweet potato fries"',
    ),
    "suggest": ('suggest "the food was"',),
    "write": ("write --stars 4",),
    "score": ("score texts.txt", "score - --json"),
    "classify fit": (
        "classify fit --input reviews.json", "classify fit --input reviews.json --set classification.label=polarity",
    ),
    "classify predict": ("classify predict texts.txt", "classify predict - --model reviewlm-polarity@champion"),
    "classify weights": ("classify weights", "classify weights --model reviewlm-polarity@champion --top 20"),
    "classify compare": ("classify compare champion previous",),
    "export": ("export --model reviewlm@champion --to exported", "export --part lstm --to exported"),
    "serve": ("serve", "serve --host 0.0.0.0 --port 8000 --workers 2"),
    "alerts set": ("alerts set --file addresses.txt", "alerts set json://hooks.example.com/reviewlm"),
    "alerts show": ("alerts show",),
    "alerts test": ("alerts test",),
    "alerts off": ("alerts off",),
    "tokens add": ("tokens add dashboard",),
    "tokens list": ("tokens list",),
    "tokens remove": ("tokens remove dashboard",),
    "promote": ("promote", 'promote --version 3 --why "agreed in review"'),
    "rollback": ("rollback", "rollback --to 2"),
    "checks suggest": ("checks suggest --table reviews.parquet --out suite.json",),
    "checks run": ("checks run --table reviews.parquet --suite suite.json",),
    "quarantine show": ("quarantine show --input reviews.json",),
    "quarantine export": ("quarantine export --out bad.jsonl",),
    "quarantine replay": ("quarantine replay --fixed bad.jsonl",),
    "synth": ("synth --out reviews.json --reviews 50000",),
    "ui start": ("ui start", "ui start --serve"),
    "ui status": ("ui status",),
    "ui password": ("ui password",),
    "ui stop": ("ui stop",),
    "worker start": (
        "worker start --server http://127.0.0.1:4200 --store file:///mnt/shared/reviewlm --password-file password",
    ),
    "tracking waiting": ("tracking waiting",),
    "tracking flush": ("tracking flush",),
    "gc": ("gc --dry-run", "gc --set upkeep.runs=3"),
    "doctor": ("doctor", "doctor --json"),
    "check": ("check --input reviews.json", "check --input reviews.csv --preset demo"),
    "drill": ("drill", "drill --long --out drill.md", "drill --only 'MLflow away'"),
    "backup": ("backup --to backup.tar.zst", "backup --to small.tar.gz --without-store"),
    "upgrade": ("upgrade",),
    "restore": ("restore backup.tar.zst --home restored",),
    "presets": ("presets",),
    "config show": ("config show --changed --preset demo", "config show models.lstm"),
    "config list": ("config list dropout",),
    "config explain": ("config explain promotion.confidence", "config explain models.lstm.hidden"),
    "embed": ("embed --input reviews.json", "embed --set embedding.kind=cbow --out vectors.vec"),
    "neighbours": (
        "neighbours delicious pizza", "neighbours --analogy waiter waitress he", "neighbours good --vectors glove.txt",
    ),
    "nearest": (
        'nearest "the tacos were cold"', 'nearest "rude waiter" --input reviews.json --n 10', "nearest --measure",
    ),
    "punctuate fit": ("punctuate fit --input reviews.json",),
    "punctuate write": ('punctuate write "the food was great"', "punctuate write plain.txt"),
    "ngram fit": ("ngram fit --text corpus.txt --order 5 --arpa model.arpa",),
    "ngram score": ("ngram score --arpa model.arpa --text test.txt",),
    "ngram suggest": ('ngram suggest "the food was" --arpa model.arpa',),
    "ngram generate": ("ngram generate --arpa model.arpa --n 3",),
}
"""Example command lines by command; "reviewlm" itself has those of the first page."""


class GroupedHelp(TyperGroup):
    """Command group whose help page shows its commands under the headings of `GROUPS`, with whole sentences."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the names and first sentences of the commands; those without a group come last."""
        placed = {name for names in GROUPS.values() for name in names}
        rest = tuple(name for name in self.commands if name not in placed)
        for title, names in {**GROUPS, "Other": rest}.items():
            rows = [(name, first_sentence(self.commands[name].help)) for name in names if name in self.commands]
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
        shown = "\n".join(f"  reviewlm {line}" for line in lines)
        command.epilog = f"\b\nExample{'s' * (len(lines) > 1)}:\n{shown}"
    for name, inside in getattr(command, "commands", {}).items():
        with_examples(inside, f"{path} {name}".strip())
    return command


def show_version(wanted: bool) -> None:
    """Write the version and end, if --version was given."""
    if wanted:
        from reviewlm import __version__, terminal

        terminal.say(f"reviewlm {__version__}")
        raise typer.Exit
