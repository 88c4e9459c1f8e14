"""Fail in a flow that is called `retrain`: `itself`, or in the `part` that it calls."""

from __future__ import annotations

import contextlib
import sys

from prefect import flow


@flow(name="retrain", flow_run_name="demo-of-today")
def fail_itself() -> None:
    raise ValueError("the disk is full")


@flow(name="ingest", flow_run_name="called-today")
def fail_as_part() -> None:
    raise ValueError("no reviews")


@flow(name="retrain", flow_run_name="calls-today")
def call_part() -> None:
    fail_as_part()


if __name__ == "__main__":
    with contextlib.suppress(ValueError):
        if sys.argv[1] == "itself":
            fail_itself()
        else:
            call_part()
