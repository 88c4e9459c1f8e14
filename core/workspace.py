"""Name the home folder, the experiment and the settings of execution that a stage takes beside its section of settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.core.sqlite_files import home_database


@dataclass(frozen=True)
class Workspace:
    """Home folder, MLflow experiment and settings of execution of a run. Nothing in it counts for a stage's digest.

    Args:
        home: The folder of store, tracking database and Prefect's state.
        experiment: Name of the experiment in MLflow.
        execution: Devices, threads, workers, cluster, and the address of MLflow.
    """

    home: Path
    experiment: str
    execution: ExecutionConfig

    @property
    def tracking_address(self) -> str:
        """Address of the MLflow server or database that runs and models are written to."""
        return self.execution.tracking_uri or home_database(self.home)
