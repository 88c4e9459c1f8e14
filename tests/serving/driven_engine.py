"""An engine's scheduler that a test drives step by step; models that never end, wait for a signal, or count."""

from __future__ import annotations

import threading
from typing import Any

import torch

from reviewlm.models.tokens.special import EOS
from reviewlm.serving.engine.live_text import LiveText
from reviewlm.serving.engine.requests import EngineLimits, Ticket, Wakes
from reviewlm.serving.engine.scheduler import Scheduler


class Bench:
    """A scheduler without a thread: the test decides when texts come and when the model works."""

    def __init__(self, bundle, **limits):
        self.bundle, self.scheduler = bundle, Scheduler(bundle, EngineLimits(**limits), Wakes())

    def begin(self, asked):
        ticket = Ticket()
        self.scheduler.admit(LiveText.of(self.bundle, asked, ticket, 0.0))
        return ticket

    def finish(self):
        while self.scheduler.live:
            self.scheduler.cycle()


class Around:
    """A model with the answers of another one."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


class Endless(Around):
    """A model that never ends a text."""

    def step(self, ids_B: Any, state: Any) -> Any:
        logp_BV, state = self.model.step(ids_B, state)
        logp_BV = logp_BV.clone()
        logp_BV[:, EOS] = -torch.inf
        return logp_BV, state


class Gate(Endless):
    """A model that never ends a text, and whose steps wait for a signal; it can be told to fail."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.open, self.error = threading.Event(), None
        self.open.set()

    def step(self, ids_B: Any, state: Any) -> Any:
        assert self.open.wait(20)
        error, self.error = self.error, None
        if error is not None:
            raise error
        return super().step(ids_B, state)


class Counting(Around):
    """A model that counts what it is asked to read."""

    def __init__(self, model):
        super().__init__(model)
        self.steps, self.read = 0, 0

    def step(self, ids_B, state):
        self.steps += 1
        return self.model.step(ids_B, state)

    def advance(self, ids_BT, state):
        self.read += ids_BT.size
        return self.model.advance(ids_BT, state)


class Refusing(Around):
    """A model that fails where one token is among those that it reads."""

    def __init__(self, model, token):
        super().__init__(model)
        self.token = token

    def step(self, ids_B, state):
        self._require(ids_B)
        return self.model.step(ids_B, state)

    def advance(self, ids_BT, state):
        self._require(ids_BT)
        return self.model.advance(ids_BT, state)

    def _require(self, ids):
        if (ids == self.token).any():
            raise RuntimeError("a defect")
