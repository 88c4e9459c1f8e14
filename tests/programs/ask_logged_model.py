"""Ask a logged model by MLflow alone for all that it does: PROMPT OPTIONS FOLDER."""

from __future__ import annotations

import json
import sys
from typing import Any

import mlflow.pyfunc
import pandas as pd

prompt, options, folder = sys.argv[1:]
draw = json.loads(options)
model = mlflow.pyfunc.load_model(folder)


def ask(**params: Any) -> Any:
    return model.predict(pd.DataFrame({"text": [prompt]}), params=params)[0]


print(
    json.dumps(
        {
            "generate": ask(**draw)["texts"],
            "suggest": ask(
                task="suggest",
                k=3,
                stars=5,
            )["words"],
            "score": ask(task="score", stars=5)["nats"],
            "stream": list(model.predict_stream({"text": prompt}, params=draw)),
        }
    )
)
