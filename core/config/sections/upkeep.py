"""Define the settings of `reviewlm gc`, which removes what no recent run or version needs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.config.section import Section
from models.options import MOST_WHOLE, Count, Whole


class UpkeepConfig(Section):
    """Settings for the removal of stored results, reports and MLflow files that are not needed any more.

    They count for no stage's digest.

    Attributes:
        runs: Newest finished runs (`run`, `train`, `evaluate`) whose results, reports and logged models are kept.
        versions: Newest versions of each registered model whose whole lineage is kept, beside those with an alias.
        model_files: Newest versions of each registered model whose model files are kept, beside those with an alias,
            former champions and versions that the gate has not refused. All versions keep their records and decisions;
            at least `versions` keep their files.
        log_megabytes: Size of the log of a service (`logs` in the home folder) at which it is begun anew; what it held
            is kept until the next time, in NAME.log.1.
    """

    runs: Count = 5
    versions: Annotated[Whole, Field(ge=0, le=MOST_WHOLE)] = 3
    model_files: Annotated[Whole, Field(ge=1, le=MOST_WHOLE)] = 10
    log_megabytes: Annotated[Whole, Field(ge=1, le=100_000)] = 10
