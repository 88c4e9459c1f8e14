"""What a fit has measured of its machine stands in the table of costs; a model that measured nothing has gaps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from reviewlm.core.store import Artifact
from reviewlm.models.specs import CacheSpec, MixtureSpec, NGramSpec, RecurrentSpec
from reviewlm.tasks.evaluation.evaluate import costs_of
from reviewlm.tasks.fitting.fit import in_words


def measured(spec: Any, summary: dict[str, float]) -> Any:
    artifact = Artifact(
        "fit",
        "0",
        "",
        {
            "files": {},
            "seconds": 9.0,
            "facts": {"summary": summary},
        },
    )  # type: ignore[arg-type]
    test = SimpleNamespace(facts={"tokens": 100, "score_seconds": 2.0}, manifest={})
    return SimpleNamespace(
        name=spec.name,
        fitted=SimpleNamespace(spec=spec, artifact=artifact),
        test=test,
    )


def test_a_model_that_is_made_of_others_costs_what_they_cost_too() -> None:
    network = {"cpu_seconds": 40.0, "parameters": 500}
    found = costs_of(
        [
            measured(NGramSpec(name="kn"), {"parameters": 70}),
            measured(RecurrentSpec(name="lstm"), network),
            measured(MixtureSpec(name="mix", parts=("kn", "lstm")), {"seconds": 1.0}),
            measured(CacheSpec(name="mix+cache", part="mix"), {}),
            measured(CacheSpec(name="kn+cache", part="kn"), {}),
            measured(MixtureSpec(name="both", parts=("mix+cache", "kn")), {}),
        ]
    )
    seconds = {name: cost["fit_seconds"] for name, cost in found.items()}
    assert seconds == {
        "kn": 9,
        "lstm": 9,
        "mix": 27,
        "mix+cache": 36,
        "kn+cache": 18,
        "both": 45,
    }
    assert found["mix+cache"]["parameters"] == 570
    assert found["both"]["parameters"] == 570, "kn is in it twice, and fitted once"
    assert (found["mix+cache"]["fit_cpu_seconds"], found["kn+cache"]["fit_cpu_seconds"]) == (
        40,
        None,
    )
    assert found["mix"]["trained_tokens_per_second"] is None


def fit_of(stage: dict[str, float], summary: dict[str, float]) -> Artifact:
    return Artifact("fit", "0", "", {**stage, "facts": {"name": "lstm", "summary": summary}})


def test_the_time_of_a_resumed_fit_is_at_least_that_of_all_its_updates() -> None:
    assert in_words(fit_of({"seconds": 34.0}, {"seconds": 144.8})) == "lstm in 2 min 25 s"
    found = costs_of(
        [
            measured(RecurrentSpec(), {"seconds": 120.0}),
            measured(CacheSpec(name="lstm+cache", part="lstm"), {}),
        ]
    )
    assert (found["lstm"]["fit_seconds"], found["lstm+cache"]["fit_seconds"]) == (120, 129)
