"""Run a command where files may have 1 KiB: the arguments of `reviewlm`."""

from __future__ import annotations

import resource
import signal

# Imported before the limit: compiled code may be written to disk.
import reviewlm.training.ngram.arpa_writer
import reviewlm.training.ngram.lines.text_files  # noqa: F401
from reviewlm.cli import main

SIZE = 1024
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, SIZE))
main()
