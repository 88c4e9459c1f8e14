"""Show in the runs of MLflow what has become of the models that they registered.

A model is in use, turned down, replaced or rolled back. The outcome is derived from the decision log, so it may be
written again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from reviewlm.core.errors import ReviewLMError, TrackingUnavailable
from reviewlm.tracking import tags as tag
from reviewlm.tracking.registry.decisions import (
    GATE,
    ROLLBACK,
    Event,
    RegistryState,
)
from reviewlm.tracking.registry.version_states import VALID, version_states
from reviewlm.tracking.registry.versions import Version
from reviewlm.tracking.runs.runs import Tracker
from reviewlm.tracking.tags import shorten

log = logging.getLogger(__name__)
REASON_LENGTH = 200
"""Letters of a person's reason in MLflow's list of runs."""


@dataclass(frozen=True)
class RunOutcomes:
    """Outcomes of the models of runs, by the decision log of a registered model.

    Args:
        tracker: Tracker of the store that holds the runs.
        log: The events, the oldest first.
        state: The state after them.
        there: The versions that exist, by number.
    """

    tracker: Tracker
    log: Sequence[Event]
    state: RegistryState
    there: Mapping[int, Version]

    def show(self, events: Sequence[Event]) -> None:
        """Show what has become of the models of these events: in the runs that registered them, and in their own."""
        touched = {number for event in events for number in (event.version, event.against)}
        for event in self.log:
            is_touched = bool(event.run_id) and event.version in touched
            if event.action == GATE and is_touched and self._counts(event):
                self._show_outcome(event)

    def _show_outcome(self, event: Event) -> None:
        """Show what has become of the model of a gate's event, in the gate's run and in the one that made the model.

        If the gate was asked twice, these differ: the second run says "refused", while the model was "replaced" before.
        """
        word = self._word_for(event)
        self._tag_run(event.run_id, tag.RUN_OUTCOME, word)
        by_hand = self._reason_by_hand(event.version)
        # A run whose model was refused keeps why, also if a later run has promoted the same version.
        if by_hand and word != tag.TURNED_DOWN:
            self._tag_run(event.run_id, tag.RUN_REASON, by_hand)

        self._name_run(event.run_id, word)
        version = self.there.get(event.version)
        if version and version.run_id:
            now = version_states(self.log, self.state)[event.version]
            self._name_run(version.run_id, now.word)

    def _counts(self, event: Event) -> bool:
        """Return whether an event is valid: carried out, or about to be."""
        return self.state.states[event.number] in VALID

    def _word_for(self, event: Event) -> str:
        """Return in a word what has become of the model of a run, by the event of its gate."""
        by_hand = not event.promote and event.version in self.state.past_champions
        promoted_before = any(
            other.promote and other.action == GATE and other.version == event.version
            for other in self.log
        )
        if not event.promote and (promoted_before or not by_hand):
            return tag.TURNED_DOWN
        if event.version == self.state.champion:
            return tag.IN_USE
        if event.version in self.state.left:
            return tag.ROLLED_BACK

        return tag.REPLACED

    def _reason_by_hand(self, version: int) -> str:
        """Return why a person has made a version champion or has left it; "" if the gate decided last.

        The reason of the gate (`RUN_REASON`) would be wrong then: a first model is in use again after a rollback.
        """
        reason = ""
        for event in self.log:
            if not self._counts(event):
                continue

            if event.action == ROLLBACK and event.against == version:
                reason = event.why
            elif event.version != version:
                continue
            elif event.action == GATE:
                reason = ""
            elif event.action == ROLLBACK:
                reason = f"rollback from v{event.against}"
            else:
                reason = f"by hand: {event.why}"

        return shorten(reason, REASON_LENGTH)

    def _tag_run(
        self,
        run_id: str,
        name: str,
        value: str,
    ) -> None:
        known_id = self.tracker.known_id(run_id)
        with _run_may_be_gone(run_id):
            self.tracker.ask(lambda client: client.set_tag(known_id, name, value))

    def _name_run(self, run_id: str, word: str) -> None:
        """Let the name of a run say what has become of its model: charts, and lists on a phone, show only names."""
        known_id = self.tracker.known_id(run_id)
        with _run_may_be_gone(run_id):
            name = self.tracker.tag(known_id, tag.RUN_NAME)
            shown = tag.name_with_outcome(name, word)
            if name and shown != name:
                self.tracker.ask(lambda client: client.set_tag(known_id, tag.RUN_NAME, shown))


@contextmanager
def _run_may_be_gone(run_id: str) -> Iterator[None]:
    """Go on if a run was deleted, whose tags then need no change."""
    try:
        yield
    except TrackingUnavailable:
        raise
    except ReviewLMError as error:
        log.debug("run %s is not tagged: %s", run_id, error.what)
