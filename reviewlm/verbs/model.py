"""Define the commands that use a registered model: generate, suggest, score, export."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reviewlm import options, terminal
from reviewlm.core.config.section import MAX_TOKENS, SEED, TEMPERATURE, TOP_P
from reviewlm.core.errors import ConfigError, ReviewLMError
from reviewlm.core.processes.interrupts import during
from reviewlm.core.processes.memory import lasting_objects
from reviewlm.live_reviews import LiveReviews
from reviewlm.options import (
    Json,
    Model,
    NamingPreset,
    Set,
    configure,
    is_given,
    open_registered,
    run_checked,
)
from reviewlm.typing_line import on_terminal, type_text

if TYPE_CHECKING:
    from reviewlm.core.workspace import Workspace
    from reviewlm.models.bundles.bundle import Bundle
    from reviewlm.tracking.registry.versions import Version

log = logging.getLogger(__name__)
LEAST_OF_TEXT = 20
"""Characters of a scored text that are shown also on a narrow terminal."""

SAMPLING = (
    "seed",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "stop",
    "watermark",
)
"""Options of `generate` about drawing at random, which have no effect with --beam."""


def generate(
    context: typer.Context,
    stars: options.Stars = None,
    n: options.Number = 1,
    seed: options.DrawSeed = SEED,
    prompt: Annotated[
        str, typer.Option("--prompt", help="Beginning of the review, which is kept unchanged.")
    ] = "",
    temperature: options.Temperature = TEMPERATURE,
    top_k: options.TopK = 0,
    top_p: options.TopP = TOP_P,
    max_tokens: options.MaxTokens = MAX_TOKENS,
    min_p: options.MinP = 0.0,
    typical_p: options.TypicalP = 1.0,
    repetition_penalty: options.RepetitionPenalty = 1.0,
    no_repeat_ngram_size: options.NoRepeatNgramSize = 0,
    stop: Annotated[
        list[str] | None,
        typer.Option(
            "--stop",
            metavar="TEXT",
            help="End a review before this text. May be repeated.",
        ),
    ] = None,
    watermark: Annotated[
        str,
        typer.Option(
            "--watermark",
            metavar="KEY",
            help="Draw words by this key; `reviewlm score --watermark` recognises the text.",
        ),
    ] = "",
    beam: Annotated[
        int,
        typer.Option(
            "--beam",
            min=0,
            help="Search for the likeliest review, keeping this many beginnings; 0: draw at random.",
        ),
    ] = 0,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            metavar="WORD",
            help="With --beam: word that the review must contain. May be repeated.",
        ),
    ] = None,
    model: Model = "champion",
    preset: NamingPreset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Write reviews with the champion.

    They are drawn at random, or the likeliest ones (--beam).

    \b
    Examples:
      reviewlm generate --stars 2 --n 3
      reviewlm generate --prompt "the tacos" --temperature 0.6
      reviewlm generate --stars 5 --beam 5 --require latte --require "sweet potato fries"
    """
    _require_effect(context, beam, require or [], n)
    config = configure(preset, set, create=False)
    with lasting_objects():
        bundle, version = open_registered(config.workspace, config.promotion.model_name, model)

    warnings = _warn_before(
        bundle,
        version,
        config.home,
        prompt,
        stars,
    )
    if beam:
        found = _search(
            bundle,
            beam,
            n,
            stars,
            prompt,
            require or [],
            max_tokens,
        )
    else:
        drawing = {name: context.params[name] for name in SAMPLING} | {"stop": stop or ()}
        found = _draw(
            bundle,
            n,
            stars,
            prompt,
            max_tokens,
            drawing,
        )
        # Without --stars the seed draws the rating.
        certain = temperature == 0 and stars is not None
        if not certain and not is_given(context, "seed"):
            _say_seed(seed)

    terminal.last_line(
        {
            **version.answer_fields,
            **found,
            "warnings": warnings,
        },
        json,
    )


def _warn_before(
    bundle: Bundle,
    version: Version,
    home: Path,
    prompt: str,
    stars: int | None,
) -> list[str]:
    """Show and return what speaks against a prompt and a rating: the training reviews did not have such ones."""
    from reviewlm.models.bundles.bundle import unseen_warnings
    from reviewlm.tasks.data.rating_doubts import doubts_about_stars

    warnings = unseen_warnings(bundle, prompt, stars)
    if stars:
        warnings += doubts_about_stars(home, version)

    terminal.show_warnings(warnings)
    return warnings


def _search(
    bundle: Bundle,
    width: int,
    n: int,
    stars: int | None,
    prompt: str,
    require: Sequence[str],
    max_tokens: int,
) -> dict[str, Any]:
    """Show the likeliest reviews that beam search finds, and return them as fields of the answer."""
    from reviewlm.models.completion.beam import beam_search

    with during("searching for the likeliest reviews"):
        reviews = run_checked(
            lambda: beam_search(
                bundle,
                width,
                n,
                stars,
                prompt,
                require,
                max_tokens,
            )
        )

    for review in reviews:
        terminal.show_review(stars, review.text, review.ended)

    found: dict[str, Any] = {"texts": [review.text for review in reviews]}
    found["ended"] = [review.ended for review in reviews]
    found["stars"] = [stars] * len(reviews)
    found["logp"] = [review.logp for review in reviews]
    return found


def _draw(
    bundle: Bundle,
    n: int,
    stars: int | None,
    prompt: str,
    max_tokens: int,
    drawing: Mapping[str, Any],
) -> dict[str, Any]:
    """Show reviews while they are drawn at random, and return them as fields of the answer."""
    from reviewlm.models.sampling import generate as sample
    from reviewlm.models.sampling.batch import rating_of

    seed = drawing["seed"]
    ratings = run_checked(lambda: [rating_of(bundle, stars, seed, number) for number in range(n)])
    live = LiveReviews(ratings, prompt)
    with during("writing"):
        reviews = run_checked(
            lambda: sample(
                bundle,
                n,
                stars,
                prompt,
                max_tokens,
                heard=live.hear,
                **drawing,
            )
        )

    live.close()
    return {
        "texts": list(reviews),
        "ended": [review.ended for review in reviews],
        "stars": ratings,
    }


def _say_seed(seed: int) -> None:
    """Say how to get the same reviews again, and others."""
    log.info(
        "drawn with seed %d: the same command gives the same text; --seed %d gives another",
        seed,
        seed + 1,
    )


def _require_effect(
    context: typer.Context,
    beam: int,
    require: Sequence[str],
    n: int,
) -> None:
    """Raise BadParameter if an option has no effect beside the others."""
    if require and not beam:
        raise typer.BadParameter("it needs --beam, e.g. --beam 5", param_hint="--require")
    if beam and n > beam:
        raise typer.BadParameter(f"a beam of {beam} finds at most {beam} reviews", param_hint="--n")

    given = [name for name in SAMPLING if is_given(context, name)]
    if beam and given:
        raise typer.BadParameter(
            "it has no effect with --beam, which draws nothing at random",
            param_hint="--" + given[0].replace("_", "-"),
        )


def suggest(
    prompt: Annotated[
        str | None, typer.Argument(help="The text so far. Without one: type it, with completions.")
    ] = None,
    k: options.WordsToSuggest = 5,
    stars: options.Stars = None,
    model: Model = "champion",
    preset: NamingPreset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Suggest the next words of a text, with their probabilities.

    Or the completions of the word being typed: "the food was gre" is completed; a known word at the end, as in "the
    food was", counts as finished. A space at the end always finishes the word.

    Without a text, on a terminal: type one, and see its suggestions at each key.

    \b
    Examples:
      reviewlm suggest "the food was"
      reviewlm suggest --stars 2
    """
    if prompt is None and not on_terminal():
        raise ConfigError(
            "No text was given, and no terminal to type it on",
            where="suggest",
            remedy='give one: `reviewlm suggest "the food was"`',
        )

    config = configure(preset, set, create=False)
    with lasting_objects():
        bundle, version = open_registered(config.workspace, config.promotion.model_name, model)

    from reviewlm.models.bundles.bundle import unseen_warnings
    from reviewlm.models.completion.suggestions import suggest as likely_words

    if prompt is None:
        from reviewlm.models.completion.reading import Readers

        readers = Readers(bundle)
        prompt = type_text(
            lambda text: run_checked(
                lambda: likely_words(
                    bundle,
                    text,
                    k,
                    stars,
                    readers=readers,
                )
            )
        )

    suggestions = run_checked(
        lambda: likely_words(
            bundle,
            prompt,
            k,
            stars,
            both=True,
        )
    )
    warnings = unseen_warnings(bundle, prompt, stars)
    terminal.show_warnings(warnings)
    both = suggestions.typed in dict(suggestions.words)  # it may be a whole word
    for reading in (suggestions, suggestions.otherwise) if both else (suggestions,):
        terminal.show_suggestions(prompt, reading)

    read = {"ratings": _ratings(bundle, stars), "warnings": warnings}
    terminal.last_line(
        {
            **version.answer_fields,
            **suggestions.as_json(),
            **read,
        },
        json,
    )


def score(
    file: Annotated[
        str, typer.Argument(help="File with one text per line; '-' reads standard input.")
    ],
    stars: options.Stars = None,
    watermark: Annotated[
        str,
        typer.Option(
            "--watermark",
            metavar="KEY",
            help="Also say which texts were drawn with this key.",
        ),
    ] = "",
    model: Model = "champion",
    preset: NamingPreset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Score texts with the champion, in open bits per byte.

    Each text, and all together. Each is read on its own: the model remembers nothing of the text before it. Lines
    without a text are left out. With --json, `scores` has more figures of each text.

    \b
    Examples:
      reviewlm score texts.txt
      reviewlm score - --json
    """
    numbers, texts = zip(*terminal.read_lines(file), strict=True)
    config = configure(preset, set, create=False)
    with lasting_objects():
        bundle, version = open_registered(config.workspace, config.promotion.model_name, model)

    from reviewlm.models.bundles.bundle import unseen_warnings
    from reviewlm.models.bundles.text_scores import sum_of_scores
    from reviewlm.models.sampling.watermark import evidence_of

    with during("scoring the texts"):
        result = run_checked(lambda: sum_of_scores(bundle.score_texts(texts, stars)))

    result["scores"] = [
        {"line": line, **figures} for line, figures in zip(numbers, result["scores"], strict=True)
    ]
    marks = []
    if watermark:
        for line, text in zip(numbers, texts, strict=True):
            evidence = evidence_of(bundle.vocabulary, text, watermark)
            marks.append({"line": line, **evidence._asdict()})

    warnings = unseen_warnings(bundle, "\n".join(texts), stars)
    terminal.show_warnings(warnings)
    _show_each(result["scores"], texts)
    _show_scores(result)
    _say_test_figure(config.workspace, version)
    terminal.show_rows(marks)
    watermarks = {"watermarks": marks} if watermark else {}
    read = {"ratings": _ratings(bundle, stars), "warnings": warnings}
    terminal.last_line(
        {
            **version.answer_fields,
            **result,
            **watermarks,
            **read,
        },
        json,
    )


def export(
    to: Annotated[
        Path,
        typer.Option("--to", metavar="FOLDER", help="Folder to write, which must not exist yet."),
    ],
    part: Annotated[
        str,
        typer.Option(
            "--part",
            metavar="NAME",
            help="Network of a model that combines several, such as the LSTM of a mixture.",
        ),
    ] = "",
    model: Model = "champion",
    preset: NamingPreset = "small",
    set: Set = None,
    json: Json = False,
) -> None:
    """Write a neural model as a graph that torch runs without this project, once it gives the same numbers.

    The folder has model.pt2 (torch.export), vocabulary.json, and card.json, which describes inputs and outputs.

    \b
    Examples:
      reviewlm version export --model reviewlm@champion --to exported
      reviewlm version export --part lstm --to exported-lstm
    """
    config = configure(preset, [*(set or []), "execution.device=cpu"], create=False)
    bundle, version = open_registered(config.workspace, config.promotion.model_name, model)
    from reviewlm.loaded_model import PROBES
    from reviewlm.training.neural.export import exportable, write_export

    network = run_checked(lambda: exportable(bundle, part))
    exported = run_checked(lambda: write_export(to, network, PROBES, version.answer_fields))
    terminal.show_result(
        {
            **version.answer_fields,
            "folder": str(to),
            "network": network.spec.name,
            "positions": exported.positions,
            "largest_difference": exported.largest_difference,
        },
        json,
    )


def _say_test_figure(workspace: Workspace, version: Version) -> None:
    """Show the figures of the model's test reviews, to compare a score with; nothing if its run cannot be read."""
    from reviewlm.tracking.registry.locating import tracker_at

    if version.run_model:  # the version's figures are those of its registered model
        return

    with suppress(ReviewLMError):
        bits = tracker_at(workspace).metrics(version.run_id).get("test/open_bits_per_byte")
        if bits is not None:
            terminal.say(
                f"To compare: the test reviews of this model need {bits:.3f} open bits per byte on average."
            )


def _ratings(bundle: Bundle, stars: int | None) -> list[int]:
    """Return the ratings with which the model read the text, and say so if there are several."""
    ratings = bundle.ratings(stars)
    if len(ratings) > 1:
        seen = ", ".join(str(rating) for rating in ratings if rating)
        without = "; and without a rating" if 0 in ratings else ""
        terminal.say(
            f"Averaged over the ratings of the training reviews ({seen} stars{without}), because --stars gives none."
        )
    return ratings


def _show_each(scores: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> None:
    """Write a line for each text: its number in the file, its figure, and its beginning."""
    heading = "line  bits/byte  text"
    terminal.say(heading, whole=True)
    room = max(terminal.width() - len(heading), LEAST_OF_TEXT)
    for one, text in zip(scores, texts, strict=True):
        if len(text) <= room:
            beginning = text
        else:
            beginning = text[: room - 1] + "…"

        terminal.say(
            f"{one['line']:>4}  {one['open_bits_per_byte']:>9.3f}  {beginning}", whole=True
        )

    terminal.say()


def _show_scores(result: Mapping[str, Any]) -> None:
    """Write the totals of scored texts, and what their figure means; JSON has the other figures."""
    shown = {
        "open_bits_per_byte": "open bits per byte",
        "texts": "texts",
        "bytes": "bytes",
        "tokens": "tokens",
        "oov": "unknown words",
    }
    terminal.show_facts({words: result[name] for name, words in shown.items()})
    terminal.say(
        "Open bits per byte: how much the texts surprise the model, with the letters of unknown words, capitals and "
        "spaces, which tokens leave out; lower is better. "
        "It compares models on the same texts. Texts compare only if they are about equally long: a short one "
        "also pays for its early end."
    )
