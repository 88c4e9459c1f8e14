"""Load two versions of a model in a program that has a package `models` of its own, in the working folder."""

from __future__ import annotations

import importlib
import json
import sys

sys.path.insert(0, ".")
own_package = importlib.import_module("models")

import mlflow.pyfunc  # noqa: E402
import pandas as pd  # noqa: E402

first, second = (mlflow.pyfunc.load_model(folder) for folder in sys.argv[1:])
rows = pd.DataFrame({"text": [""]})
said = [model.predict(rows)[0]["texts"][0].split()[1] for model in (first, second, first)]
own_module = importlib.import_module("models.own")
print(
    json.dumps(
        {
            "said": said,
            "host": own_package.WHO,
            "own": own_module.WHO,
            "project": "tracking" in sys.modules,
        }
    )
)
