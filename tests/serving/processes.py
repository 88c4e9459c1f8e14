"""A registry with real bundles, and `reviewlm serve` as a process that answers from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from reviewlm.core.config.presets import load_config
from reviewlm.models.bundles.bundle import save_bundle
from tests.serving.made_versions import bundle_of
from tests.tracking.registry.made_registry import register

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ("serving.port=0", "serving.poll_seconds=0.05", "serving.threads=1", "execution.device=cpu")


def version(home: Path, number: int, *aliases: str) -> Path:
    """Register a version with a real bundle, and return the folder of the bundle."""
    home.mkdir(exist_ok=True)
    folder = register(home, load_config("small"), number, aliases) / "artifacts" / "bundle"
    bundle = bundle_of(number)
    save_bundle(
        folder,
        bundle.spec,
        bundle.vocabulary,
        bundle.model,
        [("The food was good.", 5)],
        {},
    )
    return folder


class Process:
    """`reviewlm serve` as a user starts it."""

    def __init__(self, home: Path, *options: str) -> None:
        sets = [word for setting in LOCAL for word in ("--set", setting)]
        command = [sys.executable, "-m", "reviewlm.cli", "serve", *sets, *options, "--json"]
        environment = {
            **os.environ,
            "REVIEWLM_HOME": str(home),
            "PYTHONPATH": str(ROOT),
        }
        pipes: Any = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        }
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            **pipes,
        )
        assert self.process.stdout is not None
        self.told = json.loads(line := self.process.stdout.readline())
        assert "address" in self.told, line + self.process.communicate()[1]
        self.client = httpx.Client(base_url=self.told["address"], timeout=60)
