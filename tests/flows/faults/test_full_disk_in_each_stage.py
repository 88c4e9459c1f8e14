"""No space left in each stage of a run, one after another: a clear error each time, and the last run is complete.

Each run takes what the earlier ones have finished: it makes the stage that failed, and those after it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reviewlm.core.errors import StoreFull
from reviewlm.core.store import Built, Store
from tests.flows.first_run import Ran, mlflow_rows, run_in

pytestmark = [pytest.mark.slow, pytest.mark.long]
REPORT_STAGE = "pictures"
"""The last stage: when it fails, the run ends with a promoted model and without a report, which the next run writes."""


@pytest.mark.drill(
    "disk full",
    "no space in each stage of a run, one after another",
    "exit code 5 each time; each run goes on from the failed stage; the last one is complete",
)
def test_a_run_whose_disk_fills_up_in_every_stage_is_completed_by_the_last(
    ran: Ran,
    tmp_path: Path,
    template_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    home = Path(shutil.copytree(template_home, tmp_path / "home"))
    build = Store.build
    failed: list[str] = []
    made: Counter[tuple[str, str]] = Counter()
    asked: list[tuple[str, str]] = []

    def full_once(self: Store, stage: str, *arguments: Any, **options: Any) -> Built:
        """Fail the first build of each stage, when it has written something; note what is made."""
        if self.root == home / "store":
            result = (stage, self.digest(stage, *arguments[:3]))
            asked.append(result)
            make = arguments[3]

            def noted(work: Path) -> Any:
                facts = make(work)
                made[result] += 1
                return facts

            arguments = (*arguments[:3], noted)
        if stage not in failed and self.root == home / "store":

            def full(work: Path) -> dict[str, Any]:
                failed.append(stage)
                # A resumable stage is given what it left, and knows its own files.
                if not options.get("resumable"):
                    (work / "half").write_text("half of a result")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            arguments = (*arguments[:3], full)
        return build(self, stage, *arguments, **options)

    monkeypatch.setattr(Store, "build", full_once)
    result = None
    while result is None:
        before = len(failed)
        try:
            result = run_in(home)
        except StoreFull:
            assert len(failed) > before
            assert (
                mlflow_rows(home, "SELECT * FROM model_versions WHERE name NOT LIKE '%-decisions'")
                == []
            )
        assert mlflow_rows(home, "SELECT name FROM runs WHERE status = 'RUNNING'") == []
    record_property("stages", len(failed))
    assert failed[-1] == REPORT_STAGE
    assert result["report"] == ""
    again = run_in(home)
    assert Path(again["report"]).is_file()
    assert not {stage for stage, digest in asked if (stage, digest) not in made}
    assert set(made.values()) == {1}, "a run made something that an earlier one had finished"
    stages = {folder.name for folder in (home / "store").glob("[!.]*")}
    assert stages == set(failed) == {folder.name for folder in (ran.home / "store").glob("[!.]*")}
    assert not list((home / "store").glob("[!.]*/*/half"))
    for now, then in zip(result["models"], ran.result["models"], strict=True):
        assert (now["name"], now["test"]["nats"]) == (
            then["name"],
            pytest.approx(then["test"]["nats"], rel=1e-6),
        )
    assert result["promoted"]
    assert (
        len(mlflow_rows(home, "SELECT * FROM model_versions WHERE name NOT LIKE '%-decisions'"))
        == 1
    )
    curves = "SELECT run_uuid, key, step FROM metrics WHERE key LIKE 'train/%' GROUP BY 1, 2, 3 HAVING count(*) > 1"
    assert mlflow_rows(home, curves) == []
