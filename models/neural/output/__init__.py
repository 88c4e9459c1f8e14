"""Map features to log-probabilities, loss and gradient: the output layers.

Evaluation is always exactly normalised. Loss and gradient are computed together, some rows at a time
(`cross_entropy.py`). So memory does not grow with N times V, and the backward pass only scales the stored gradient.
`docs/concepts/models/tuning.md` compares the layers.
"""

from ..spec import NOT_SCORED as NOT_SCORED
from .adaptive import AdaptiveOutput as AdaptiveOutput
from .base import CONTEXT_IDS as CONTEXT_IDS
from .base import OutputLayer as OutputLayer
from .base import Precision as Precision
from .base import SoftmaxOutput as SoftmaxOutput
from .build import build_output as build_output
from .hierarchical import HierarchicalOutput as HierarchicalOutput
