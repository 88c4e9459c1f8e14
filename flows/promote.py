"""Register the best model on validation, and move the alias `champion` to it only if it passes the gate."""

from __future__ import annotations

from prefect import flow

from core.config.run_config import RunConfig
from core.store import Artifact
from flows.evaluate import held_out_tokens
from flows.server.parameters import Given
from tasks.data.prepare import Prepared
from tasks.evaluation.compare import Evaluated
from tasks.measuring.processes import model_processes
from tasks.promotion.champion_reviews import score_champion_reviews
from tasks.promotion.choose import choose_challenger
from tasks.promotion.promote import Promotion, decide, judge_registered, register
from tasks.promotion.score_now import Champion, score_challenger, score_champion
from tasks.run_report import figures_beside
from tasks.stage import step


@flow(name="promote", flow_run_name="{config.title}", persist_result=False)
def promote(
    config: Given[RunConfig], prepared: Given[Prepared], evaluated: Given[Evaluated], parent_run_id: str,
    drift: Given[Artifact | None] = None,
) -> Promotion:  # fmt: skip
    """Register the challenger, run the gate and return the decision. A refused promotion is not an error."""
    held_out = held_out_tokens(prepared, [model.fitted for model in evaluated.models])
    with step("promote", "choose the challenger and run the gate"), model_processes(config, held_out):
        return _promoted(config, prepared, evaluated, parent_run_id, drift)


def _promoted(
    config: RunConfig, prepared: Prepared, evaluated: Evaluated, parent_run_id: str, drift: Artifact | None
) -> Promotion:
    challenger = choose_challenger(config, prepared, evaluated)

    def judge(champion: Champion | None, version: int | None) -> Promotion:
        scored = score_challenger(config, prepared, challenger, version)
        kept = score_champion_reviews(config, prepared, challenger, scored, champion, version)
        return decide(config, prepared, evaluated, challenger, scored, champion, version, parent_run_id, drift, kept)

    with figures_beside(config, evaluated, challenger.name):
        return judge_registered(
            lambda: score_champion(config, prepared, challenger),
            lambda champion: register(config, prepared, challenger, champion),
            judge,
        )
