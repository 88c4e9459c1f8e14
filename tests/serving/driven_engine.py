"""An engine's scheduler that a test drives step by step, and a model that counts what it is asked to read."""

from __future__ import annotations

from serving.engine.live_text import LiveText
from serving.engine.requests import EngineLimits, Ticket, Wakes
from serving.engine.scheduler import Scheduler


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


class Counting:
    """A model that counts what it is asked to read."""

    def __init__(self, model):
        self.model, self.steps, self.read = model, 0, 0

    def __getattr__(self, name):
        return getattr(self.model, name)

    def step(self, ids_B, state):
        self.steps += 1
        return self.model.step(ids_B, state)

    def advance(self, ids_BT, state):
        self.read += ids_BT.size
        return self.model.advance(ids_BT, state)
