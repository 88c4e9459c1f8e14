"""The pretended graph has the traps of a CUDA graph; the answers are worked out by hand."""

import pytest
import torch
from torch import nn

from tests.pretended_gpu.graphs import ReplayedModule

GPU = torch.device("cuda", 0)


class Line(nn.Module):
    """a x + b."""

    def __init__(self, disturb=lambda: None):
        super().__init__()
        self.a, self.b = (nn.Parameter(torch.tensor([value], device=GPU)) for value in (2.0, 1.0))
        self.disturb, self.calls = disturb, 0

    def forward(self, x):
        self.calls += 1
        self.disturb()
        return (self.a * x + self.b,)


def there(*numbers):
    return torch.tensor(numbers, device=GPU)


@pytest.mark.usefixtures("counts")
def test_inputs_are_copied_and_results_and_gradients_overwritten_by_the_next_replay():
    module = Line()
    replay, x = ReplayedModule(module, (there(0.0, 0.0),)), there(3.0, 4.0)
    (first,) = replay(x)
    assert first.tolist() == [7.0, 9.0]
    x.zero_()
    first.sum().backward()
    assert module.a.grad.tolist() == [7.0]  # of the copy: 3 + 4
    kept, module.a.grad, module.b.grad = module.a.grad, None, None
    (second,) = replay(there(5.0, 6.0))
    assert first.tolist() == second.tolist() == [11.0, 13.0]
    second.sum().backward()
    assert kept.tolist() == module.a.grad.tolist() == [11.0]
    assert module.b.grad.tolist() == [2.0]


@pytest.mark.usefixtures("counts")
def test_weights_are_those_of_now_and_attributes_those_of_the_capture():
    module = Line()
    replay = ReplayedModule(module, (there(0.0, 0.0),))
    calls = module.calls
    with torch.no_grad():
        module.a.fill_(10.0)
    assert replay(there(1.0, 2.0))[0].tolist() == [11.0, 21.0]
    assert module.calls == calls


@pytest.mark.usefixtures("counts")
def test_a_parameter_that_was_moved_is_noticed():
    module = Line()
    replay = ReplayedModule(module, (there(0.0, 0.0),))
    module.a.data = there(10.0)
    with pytest.raises(AssertionError, match="lies elsewhere"):
        replay(there(1.0, 2.0))


@pytest.mark.parametrize(
    "disturb",
    [
        lambda: torch.ones(1, device=GPU).item(),
        lambda: torch.ones(1, device=GPU).cpu(),
        lambda: torch.ones(1, device=GPU).to("cpu", non_blocking=True),
        lambda: torch.ones(1).to(GPU),
        lambda: torch.ones(1).pin_memory().to(GPU, non_blocking=True),
        lambda: torch.zeros(2, device=GPU).nonzero(),
        lambda: torch.cuda.synchronize(),
    ],
    ids=["read", "copy", "copy without a wait", "pageable", "pinned", "sized by values", "wait"],
)
@pytest.mark.usefixtures("counts")
def test_what_needs_the_host_cannot_be_captured(disturb):
    disturb()
    with pytest.raises(RuntimeError, match="stream is capturing"):
        ReplayedModule(Line(disturb), (there(0.0, 0.0),))
    disturb()
