"""Take torch's optimisers without what they do for its compiler, which this project does not use."""

from __future__ import annotations

from inspect import unwrap

import torch


class NeverCompiled:
    """Mixin of an optimiser: takes the methods that torch hides from its compiler as they are without that.

    Hidden, the first call of one imports the compiler, which takes more than a second of each process that fits a
    network. `inspect.unwrap` returns a method unchanged that is not wrapped.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = unwrap(torch.optim.Optimizer.load_state_dict)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)


class AdamW(NeverCompiled, torch.optim.AdamW):
    """torch's own AdamW, whose step looks for the compiler too."""

    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))
