"""Compute in a forked process, and print how the child ended (0: as expected): CASE SECONDS.

A child is killed after SECONDS, as one that waits for ever.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import polars as pl
import torch

from reviewlm.models.base import ModelError
from reviewlm.models.neural.inference.reader import packed_linear
from reviewlm.models.text.given import given_texts
from reviewlm.models.threads import require_threads, trust_fork

SECONDS = int(sys.argv[2])
torch.set_num_threads(2)
numbers = torch.randn(600, 600)


def product() -> float:
    return float((numbers @ numbers).sum())


def kind_of_refusal() -> str | None:
    try:
        given_texts(["a"])
    except ModelError as error:
        return error.kind
    return None


def in_child(work: Callable[[], bool]) -> int:
    """Return how a child ended that has done some work: 0 if it was as expected."""
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        os._exit(0 if work() else 1)
    return os.waitpid(child, 0)[1]


def use_polars() -> None:
    pl.select(pl.Series(["a", "b"]).str.to_lowercase()).lazy().collect()


def keeps_threads(number: int) -> bool:
    require_threads()
    return torch.get_num_threads() == number


def compute_with_torch() -> None:
    before = product()

    def computes() -> bool:
        require_threads()
        return abs(product() - before) < 1

    print(in_child(computes))


def compute_in_threads() -> None:
    before = product()

    def each_computes_alone() -> bool:
        other = threading.Thread(target=lambda: given_texts(["a"]))
        other.start()
        other.join()
        given_texts(["a"])
        return torch.get_num_threads() == 1 and abs(product() - before) < 1

    print(in_child(each_computes_alone))


class Packed:
    """A product of a network, which is packed anew where it is unpickled."""

    def __init__(self) -> None:
        self.product: Any = packed_linear(torch.ones(2600, 600), None)

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Packed, ()


def unpickle_network() -> None:
    pickled = pickle.dumps(Packed())
    inputs = torch.ones(64, 600)
    print(in_child(lambda: float(pickle.loads(pickled).product(inputs)[0, 0]) == 600.0))


def refuse_child() -> None:
    use_polars()
    print(in_child(lambda: kind_of_refusal() == "input"))


def refuse_grandchild() -> None:
    use_polars()
    print(in_child(lambda: in_child(lambda: kind_of_refusal() == "input") == 0))


def go_on_in_parent() -> None:
    use_polars()
    in_child(lambda: True)
    print(kind_of_refusal(), given_texts(["a"]), torch.get_num_threads())


def trust() -> None:
    def keeps() -> bool:
        trust_fork()
        return keeps_threads(2)

    print(in_child(keeps))


def do_not_trust() -> None:
    print(in_child(lambda: keeps_threads(1)))


CASES = {
    "torch": compute_with_torch,
    "threads": compute_in_threads,
    "network": unpickle_network,
    "child": refuse_child,
    "grandchild": refuse_grandchild,
    "parent": go_on_in_parent,
    "trusted": trust,
    "not trusted": do_not_trust,
}

if __name__ == "__main__":
    CASES[sys.argv[1]]()
