"""Register versions of a model; promote, refuse and roll them back.

Aliases show the role of a version: `challenger` from registration to decision, `champion` for the version in use,
`previous` for the champion before it. The gate does not read scores from the registry: it scores both models itself.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from reviewlm.core.errors import ReviewLMError
from reviewlm.tracking import tags as tag
from reviewlm.tracking.registry.decisions import GATE, MANUAL, ROLLBACK, Event
from reviewlm.tracking.registry.logged_decisions import LoggedDecisions
from reviewlm.tracking.registry.remedies import advice_without_champion, way_back
from reviewlm.tracking.registry.versions import (
    CHALLENGER,
    CHAMPION,
    MODEL_DESCRIPTION,
    PROMOTED,
    REFUSED,
    Version,
    create_model,
    version_tags,
)

log = logging.getLogger(__name__)


class Registry(LoggedDecisions):
    """Registration, gate, promotions and rollbacks of one registered model."""

    def register(
        self,
        model_uri: str,
        run_id: str,
        tags: Mapping[str, Any] | None = None,
    ) -> int:
        """Register a logged model as the challenger, and return its version.

        A repeated call returns the same version. A version that the gate has judged does not become challenger again.
        """
        create_model(self.tracker, self.name, MODEL_DESCRIPTION.format(name=self.name))
        with self.changing():
            same = next(
                (version for version in self.versions() if version.source == model_uri), None
            )
            with self.tracker.reaching() as client:
                model = client.get_logged_model(model_uri.removeprefix("models:/"))
                if same:
                    number = same.version
                else:
                    all_tags = {**(tags or {}), tag.MODEL_URI_TAG: model_uri}
                    stored = tag.pack_tags(version_tags(all_tags))
                    # From the model's folder: MLflow would look up `models:/m-…` in its process-wide store.
                    folder = model.artifact_location
                    made = client.create_model_version(
                        self.name,
                        folder,
                        run_id,
                        stored,
                        model_id=model.model_id,
                    )
                    number = int(made.version)

                self._link(client, model, number)

            if same is None or tag.OUTCOME not in same.tags:
                self._set_alias(CHALLENGER, number)

        return number

    def _link(
        self,
        client: Any,
        model: Any,
        number: int,
    ) -> None:
        """Note in a logged model's tags that it is a version, as MLflow's own registration does."""
        linked = json.loads(model.tags.get(tag.MODEL_VERSIONS, "[]"))
        known = {(entry["name"], str(entry["version"])) for entry in linked}
        if (self.name, str(number)) in known:
            return

        entries = [*linked, {"name": self.name, "version": number}]
        client.set_logged_model_tags(model.model_id, {tag.MODEL_VERSIONS: json.dumps(entries)})

    def settle(
        self,
        version: int | None,
        expected_champion: int | None,
        promote: bool,
        report: str,
        tags: Mapping[str, Any],
        run_id: str = "",
        who: str = "",
    ) -> None:
        """Write the gate's decision to the log, then carry it out: update tags, description and aliases.

        Args:
            version: The challenger; None if it was not registered, because it equals the champion.
            expected_champion: The champion that it was compared with; None if there was none.
            promote: Whether the gate accepted it.
            report: The decision as Markdown.
            tags: Further tags of the version: the reason, the rules, the figures.
            run_id: MLflow run that holds the decision. Repeated calls for the same run are written once.
            who: Author, e.g. the deployment that started the run; empty for USER@HOST of this process.

        Raises:
            ChampionChanged: The challenger won against a version that is no longer champion. It is not promoted; its
                version and the aliases are not changed.
            InputError: There is no such version.
        """
        if version is not None:
            self.version(version)

        why = str(tags.get(tag.REASON, ""))
        outcome = {tag.OUTCOME: PROMOTED if promote else REFUSED}
        all_tags = outcome | version_tags(tags)
        carried_out = "" if version else "no version"
        event = Event(
            GATE,
            promote,
            version or 0,
            expected_champion,
            why,
            who,
            run_id=run_id,
            tags=all_tags,
            report=report,
            carried_out=carried_out,
        )
        self._decide(event)

    def promote(
        self,
        version: int,
        expected_champion: int | None,
        *,
        why: str = "",
        who: str = "",
        force: bool = False,
    ) -> Event:
        """Make a version champion by hand, if the champion is still the one that the user has seen.

        Return the decision as written in the log.

        Args:
            version: Its number.
            expected_champion: The champion that the user has seen; None if there was none.
            why: The reason.
            who: Author; empty for USER@HOST of this process.
            force: Promote the version although the gate has refused it.

        Raises:
            ChampionChanged: Another version became champion in the meantime. Nothing was changed.
            ReviewLMError: As `require_promotable`.
            Unfinished: The decision is in the log, but MLflow stopped answering before the aliases were updated.
        """
        self.require_promotable(version, force)
        return self._decide(
            Event(
                MANUAL,
                True,
                version,
                expected_champion,
                why,
                who,
            )
        )

    def require_promotable(self, version: int, force: bool = False) -> None:
        """Raise a ReviewLMError if the gate refused a version (unless *force*), or it is champion or does not exist."""
        entry = self.version(version)
        if CHAMPION in entry.aliases:
            raise ReviewLMError(
                f"Version {version} is the champion already",
                where=f"models:/{self.name}",
                remedy=f"there is nothing to do; `reviewlm history --model {self.name}` says since when",
            )

        if entry.tags.get(tag.OUTCOME) == REFUSED and not force:
            raise ReviewLMError(
                f"The gate has refused version {version}",
                where=f"models:/{self.name}/{version}",
                cause=entry.tags.get(tag.REASON, ""),
                remedy=f"`reviewlm promote --model {self.name} --version {version} --force --why TEXT` does it anyway",
            )

    def rollback(
        self,
        to: int | None = None,
        *,
        against: int | None = None,
        why: str = "",
        who: str = "",
    ) -> Event:
        """Make a former champion champion again, and return the decision as written in the log.

        The current champion becomes `previous`.

        Args:
            to: A version that was champion before; None for the previous champion, unless it was rolled back from.
            against: The champion that the user has seen; None to accept any champion.
            why: The reason.
            who: Author; empty for USER@HOST of this process.

        Raises:
            ChampionChanged: The champion is not *against*. Nothing was changed.
            ReviewLMError: There is no previous champion, or *to* was never champion or is champion already; or, without
                *to*, the previous champion was rolled back from: a second rollback would undo the first.
            Unfinished: The decision is in the log, but MLflow stopped answering before the aliases were updated.
        """
        with self.changing():
            target = self._former_champion(to)
            champion = self.state.champion
            event = self._enter(
                Event(
                    ROLLBACK,
                    True,
                    target,
                    against or champion,
                    why,
                    who,
                )
            )

        log.info("version %d of %s is champion again (was %s)", target, self.name, champion)
        return event

    def rollback_target(self, to: int | None = None) -> int:
        """Return the version that `rollback` would make champion; raise the same errors."""
        with self.changing():
            return self._former_champion(to)

    def champions(self) -> list[Version]:
        """Return all current and former champions that still exist, the earliest first."""
        with self.changing():
            return [
                self.there[number] for number in self.state.past_champions if number in self.there
            ]

    def _former_champion(self, to: int | None) -> int:
        state = self.state
        target = state.previous if to is None else to
        champions = ", ".join(map(str, state.past_champions)) or "none"
        if target is None:
            what = f"{self.name} has no previous champion to go back to"
            cause = ""
            remedy = self._other_champion()
        elif target == state.champion:
            what = f"Version {target} is the champion already"
            cause = ""
            remedy = f"there is nothing to do; of the others, {self._other_champion()}"
        elif target not in state.past_champions:
            what = f"Version {target} of {self.name} was never champion"
            cause = f"champions so far: {champions}"
            remedy = self._promotion(target)
        elif to is None and (left := state.left.get(target)):
            what = f"Version {state.champion} stays champion: version {target}, the one before it, was rolled back from"
            cause = (
                f"by {left.who} on {left.when:%Y-%m-%d}: {left.why}; champions so far: {champions}"
            )
            past = [version for version in state.past_champions if version in self.there]
            wanted = [target, *past]
            others = [number for number in dict.fromkeys(wanted) if number != state.champion]
            remedy = "; ".join(map(self._rollback_to, others))
        else:
            return target

        raise ReviewLMError(
            what,
            where=f"models:/{self.name}",
            value=to,
            cause=cause,
            remedy=remedy,
        )

    def _rollback_to(self, number: int) -> str:
        """Return the command that makes a former champion champion again, as a sentence."""
        return (
            f"`reviewlm rollback --model {self.name} --to {number}` makes version {number} champion"
        )

    def _other_champion(self) -> str:
        """Return the command that makes another version champion, as a sentence."""
        champion = self.state.champion
        if champion is None:
            return advice_without_champion(self.tracker, self.name)
        return way_back(self.tracker, self.name, champion)

    def _promotion(self, version: int) -> str:
        """Return the command that makes a version champion by hand, as a sentence."""
        entry = self.there.get(version)
        refused = entry is not None and entry.tags.get(tag.OUTCOME) == REFUSED
        force = " --force" if refused else ""
        promote = f"`reviewlm promote --model {self.name} --version {version}{force} --why TEXT`"
        return f"{promote} makes it champion"
