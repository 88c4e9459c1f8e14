"""Write a model as an ARPA file where files may have 4 KiB, and print the kind of the error: SOURCE TARGET."""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

from reviewlm.models.base import ModelError
from reviewlm.training.ngram.lines.line_lm import LineLM

SIZE = 4096
model = LineLM.from_arpa(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, SIZE))
try:
    model.to_arpa(Path(sys.argv[2]))
except ModelError as error:
    print(error.kind, getattr(error.__cause__, "errno", None))
