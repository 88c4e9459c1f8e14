"""A forked process answers, or says at once why it cannot: it never waits for threads that do not exist there."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

import pytest

SECONDS = 60
"""Time after which a child counts as one that waits for ever; it needs less than one."""
PARENT = """
import os, signal
import polars as pl
import torch
from reviewlm.models.base import ModelError
from reviewlm.models.text.given import given_texts
from reviewlm.models.threads import require_threads, trust_fork

torch.set_num_threads(2)
numbers = torch.randn(600, 600)

def product():
    return float((numbers @ numbers).sum())

def kind_of_refusal():
    try:
        given_texts(["a"])
    except ModelError as error:
        return error.kind

def in_child(work):
    child = os.fork()
    if not child:
        signal.alarm({seconds})
        os._exit(0 if work() else 1)
    return os.waitpid(child, 0)[1]
"""


def run(program: str) -> str:
    """Run a program in a fresh process after `PARENT`, and return what it prints."""
    whole = PARENT.format(seconds=SECONDS) + dedent(program)
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "POLARS_MAX_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", whole], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout.strip()


def test_a_child_computes_with_torch_alone() -> None:
    printed = run(
        """
        before = product()
        print(in_child(lambda: require_threads() or abs(product() - before) < 1))
        """
    )
    assert printed == "0"


def test_each_thread_of_a_child_computes_alone_whichever_uses_a_model_first() -> None:
    printed = run(
        """
        import threading

        before = product()

        def alone():
            other = threading.Thread(target=lambda: given_texts(["a"]))
            other.start()
            other.join()
            given_texts(["a"])
            return torch.get_num_threads() == 1 and abs(product() - before) < 1

        print(in_child(alone))
        """
    )
    assert printed == "0"


def test_a_network_is_unpickled_in_a_child() -> None:
    printed = run(
        """
        import pickle
        from reviewlm.models.neural.inference.reader import packed_linear

        class Packed:
            def __init__(self):
                self.product = packed_linear(torch.ones(2600, 600), None)

            def __reduce__(self):
                return Packed, ()

        pickled = pickle.dumps(Packed())
        print(in_child(lambda: float(pickle.loads(pickled).product(torch.ones(64, 600))[0, 0]) == 600.0))
        """
    )
    assert printed == "0"


def test_a_child_of_a_process_that_used_polars_is_refused_at_every_door() -> None:
    printed = run(
        """
        pl.select(pl.Series(["a", "b"]).str.to_lowercase()).lazy().collect()
        print(in_child(lambda: kind_of_refusal() == "input"))
        """
    )
    assert printed == "0"


def test_a_child_of_a_refused_child_is_refused() -> None:
    printed = run(
        """
        pl.select(pl.Series(["a", "b"]).str.to_lowercase()).lazy().collect()
        print(in_child(lambda: in_child(lambda: kind_of_refusal() == "input") == 0))
        """
    )
    assert printed == "0"


def test_the_parent_goes_on_after_a_fork() -> None:
    printed = run(
        """
        pl.select(pl.Series(["a", "b"]).str.to_lowercase()).lazy().collect()
        in_child(lambda: True)
        print(kind_of_refusal(), given_texts(["a"]), torch.get_num_threads())
        """
    )
    assert printed == "None ['a'] 2"


@pytest.mark.parametrize(("trusted", "threads"), [("trust_fork()", 2), ("None", 1)])
def test_a_child_of_a_process_that_has_only_imported_keeps_its_threads_if_it_says_so(
    trusted: str, threads: int
) -> None:
    printed = run(
        f"""
        print(in_child(lambda: ({trusted}, require_threads(), torch.get_num_threads() == {threads})[2]))
        """
    )
    assert printed == "0"
