"""Describe a data set for MLflow by source, columns and size, without loading its rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

MLFLOW_TYPES = {
    "String": "string", "Int8": "integer", "Int16": "integer", "Int32": "integer", "Int64": "long", "UInt32": "long",
    "UInt64": "long", "Float32": "float", "Float64": "double", "Boolean": "boolean", "Date": "datetime",
}
SCHEMA_LENGTH = 60_000


def describe(frame: pl.DataFrame | Path) -> dict[str, str]:
    """Return `source`, `schema` and `profile` as JSON texts in MLflow's form; "" for facts that are not known."""
    import polars as pl

    if isinstance(frame, Path):
        source = {"uri": frame.absolute().as_uri()}
        if frame.suffix != ".parquet" or not frame.is_file():
            return {"source": json.dumps(source), "schema": "", "profile": ""}
        table = pl.scan_parquet(frame)
        schema, rows = table.collect_schema(), int(table.select(pl.len()).collect().item())
    else:
        source, schema, rows = {"uri": "memory"}, frame.schema, frame.height
    columns = [{"type": _type(kind), "name": name, "required": True} for name, kind in schema.items()]
    text = json.dumps({"mlflow_colspec": columns})
    profile = json.dumps({"num_rows": rows, "num_elements": rows * len(columns)})
    return {"source": json.dumps(source), "schema": text if len(text) <= SCHEMA_LENGTH else "", "profile": profile}


def _type(kind: object) -> str:
    name = str(kind).split("(")[0]
    return "datetime" if name == "Datetime" else MLFLOW_TYPES.get(name, "string")
