"""Print the digest of a vocabulary of each unit: UNITS and TEXTS as JSON."""

from __future__ import annotations

import json
import sys

from reviewlm.models.specs import VocabularySpec
from reviewlm.models.text.normal_form import NormalForm
from reviewlm.training.vocabularies.learn import learn_vocabulary

units, texts = (json.loads(argument) for argument in sys.argv[1:])
for unit in units:
    spec = VocabularySpec(
        unit=unit,
        size=400,
        min_count=1,
    )
    print(unit, learn_vocabulary(texts, spec, NormalForm()).digest)
