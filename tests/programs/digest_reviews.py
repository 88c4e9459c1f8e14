"""Print the SHA-256 of 50 synthetic reviews."""

from __future__ import annotations

import hashlib

from reviewlm.corpus.synthetic.synth import make_chunk

print(hashlib.sha256(make_chunk(0, 50, 1)[0]).hexdigest())
