"""Output layers: from features to log-probabilities, loss and gradient.

Evaluation is always exactly normalised. Loss and gradient are computed together, some rows at a time
(`cross_entropy.py`): memory does not grow with N times V, and the backward pass only scales what is there.
`docs/outputs.md` compares them.
"""

from .adaptive import AdaptiveOutput as AdaptiveOutput
from .adaptive import TwoLevelOutput as TwoLevelOutput
from .base import GIVEN as GIVEN
from .base import NOT_SCORED as NOT_SCORED
from .base import OutputLayer as OutputLayer
from .base import Precision as Precision
from .build import build_output as build_output
from .hierarchical import HierarchicalOutput as HierarchicalOutput
from .sampled import NCEOutput as NCEOutput
from .sampled import SampledSoftmaxOutput as SampledSoftmaxOutput
from .single import SoftmaxOutput as SoftmaxOutput
