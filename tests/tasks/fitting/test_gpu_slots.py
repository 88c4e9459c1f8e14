"""Who holds which GPU: fits of networks, one each; the scoring of a network meanwhile; never an n-gram model."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

import reviewlm.tasks.execution.devices
import reviewlm.tasks.execution.limits
from reviewlm.core.config.run_config import RunConfig
from reviewlm.core.config.sections.execution import ExecutionConfig
from reviewlm.models.specs import (
    CacheSpec,
    MixtureSpec,
    ModelSpec,
    NGramSpec,
    NPLMSpec,
    RecurrentSpec,
)
from reviewlm.tasks.execution.devices import OpenBundle, device_for, held_device
from reviewlm.tasks.execution.limits import gpu_slot
from reviewlm.tasks.fitting.fit_process import environment_of

ON_GPU = RunConfig(execution=ExecutionConfig(device="cuda"))


@pytest.fixture
def three(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A machine with three GPUs, whose Prefect server has room for all; returns the names of the slots taken."""
    taken: list[str] = []

    @contextmanager
    def concurrency(name: str, **_: object) -> Iterator[None]:
        taken.append(name)
        yield

    monkeypatch.setattr(reviewlm.tasks.execution.limits, "is_shared", lambda: True)
    monkeypatch.setattr(reviewlm.tasks.execution.limits, "concurrency", concurrency)
    monkeypatch.setattr(reviewlm.tasks.execution.limits, "LOOK_SECONDS", 0.01)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7a,MIG-5b/1/0")
    return taken


def test_each_holder_gets_a_free_gpu(three: list[str]) -> None:
    with gpu_slot("cuda") as first:
        with gpu_slot("cuda") as second, gpu_slot("cuda") as third:
            assert (first, second, third) == ((0,), (1,), (2,))
        with gpu_slot("cuda") as again:
            assert again == (1,)
    assert three == ["gpu"] * 4


@pytest.mark.parametrize(("device", "slots"), [("cpu", []), ("cuda", ["gpu"])])
def test_a_fit_takes_a_slot_of_the_limit_only_for_a_gpu_also_if_none_is_seen(
    three: list[str],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    slots: list[str],
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with gpu_slot(device):
        assert three == slots


def test_a_fit_of_several_processes_takes_all_its_gpus_together(three: list[str]) -> None:
    with gpu_slot("cuda"), gpu_slot("cuda", 2) as two:
        assert two == (1, 2)
    with gpu_slot("cuda", 8) as all_there_are:
        assert all_there_are == (0, 1, 2)


def test_whoever_finds_too_few_waits_holding_none(three: list[str]) -> None:
    got = threading.Event()

    def wants_two() -> None:
        with gpu_slot("cuda", 2):
            got.set()

    with gpu_slot("cuda") as held, gpu_slot("cuda"):
        thread = threading.Thread(target=wants_two, daemon=True)
        thread.start()
        assert not got.wait(0.2)
        with gpu_slot("cuda") as third:
            assert (held, third) == ((0,), (2,))
    assert got.wait(60)
    thread.join()


def test_a_fits_processes_see_the_gpus_it_holds_by_the_names_the_user_gave(
    three: list[str],
) -> None:
    assert (
        environment_of(1, device="cuda", gpus=(1, 2))["CUDA_VISIBLE_DEVICES"] == "GPU-7a,MIG-5b/1/0"
    )
    assert environment_of(1, device="cuda")["CUDA_VISIBLE_DEVICES"] == "4,GPU-7a,MIG-5b/1/0"
    assert environment_of(1, device="cuda", gpus=(0,)).get("CUDA_DEVICE_ORDER") == os.environ.get(
        "CUDA_DEVICE_ORDER"
    )


NEURAL = RecurrentSpec(name="lstm")


@pytest.mark.parametrize(
    ("spec", "parts", "device"),
    [
        (NGramSpec(), (), "cpu"),
        (NEURAL, (), "cuda"),
        (NPLMSpec(), (), "cuda"),
        (MixtureSpec(parts=("a", "b")), (NGramSpec(), NGramSpec()), "cpu"),
        (MixtureSpec(parts=("a", "lstm")), (NGramSpec(), NEURAL), "cuda"),
        (MixtureSpec(parts=("a", "b")), (NGramSpec(), CacheSpec(part="lstm")), "cuda"),
    ],
    ids=["n-gram", "lstm", "nplm", "n-grams", "n-gram and lstm", "cache of a network"],
)
def test_only_what_has_a_network_uses_the_gpu(
    spec: ModelSpec,
    parts: tuple[ModelSpec, ...],
    device: str,
) -> None:
    assert device_for(ON_GPU.execution, spec, parts) == device
    assert (
        device_for(RunConfig(execution=ExecutionConfig(device="cpu")).execution, spec, parts)
        == "cpu"
    )


# --- scoring


@pytest.fixture
def opened(
    three: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> list[str]:
    """What happens to a bundle with a network."""
    happened: list[str] = []
    (tmp_path / "spec.json").write_text('{"spec": {"kind": "lstm", "name": "lstm"}}')
    monkeypatch.setattr(reviewlm.tasks.execution.devices, "SPEC", "spec.json")
    monkeypatch.setattr(
        reviewlm.tasks.execution.devices,
        "load_bundle",
        lambda folder, device: happened.append(device) or SimpleNamespace(device=device),
    )
    monkeypatch.setattr(
        "reviewlm.models.neural.device.free_cached_memory", lambda: happened.append("freed")
    )
    return happened


def test_scoring_holds_a_gpu_from_the_first_use_on(
    opened: list[str],
    three: list[str],
    tmp_path: Path,
) -> None:
    with gpu_slot("cuda"), OpenBundle(ON_GPU.execution, tmp_path) as bundle:
        assert opened == []  # the scores may be stored: then no GPU is needed
        assert bundle() is bundle()
        assert opened == ["cuda:1"]


def test_scoring_gives_the_memory_of_a_gpu_back(
    opened: list[str],
    three: list[str],
    tmp_path: Path,
) -> None:
    with gpu_slot("cuda"), OpenBundle(ON_GPU.execution, tmp_path) as bundle:
        bundle()
    assert opened == ["cuda:1", "freed"]
    with gpu_slot("cuda", 3) as free:
        assert free == (0, 1, 2)


def test_torchs_device_is_the_gpu_that_is_held(
    opened: list[str],
    three: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with gpu_slot("cuda"), held_device("cuda") as second, held_device("cpu") as cpu:
        assert (second, cpu) == ("cuda:1", "cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with held_device("cuda") as unknown:
        assert unknown == "cuda"
    assert opened == ["freed", "freed"]
