"""Score a text with the registered champion, by MLflow alone."""

from __future__ import annotations

import json
import sys

import mlflow.pyfunc
import pandas as pd

model = mlflow.pyfunc.load_model("models:/reviewlm@champion")
rows = pd.DataFrame({"text": [sys.argv[1]]})
[scored] = model.predict(rows, params={"task": "score", "stars": 5})
print(json.dumps(scored["nats"]))
