"""Settings of the audit of what a model writes: whether it copies, and whether it has learnt secrets by heart."""

from __future__ import annotations

from reviewlm.section import Section


class AuditConfig(Section):
    """What a model is asked to write before anybody else may ask it."""
