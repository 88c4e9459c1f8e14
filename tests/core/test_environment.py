"""What stands in the environment before numpy is imported, and which device is taken by itself."""

from pathlib import Path

import pytest

from core import environment
from core.environment import chosen_device, numpy_features, visible_gpus

ZEN4 = "vendor_id\t: AuthenticAMD\nflags\t\t: fpu sse avx2 avx512f avx512_vbmi2\n\nprocessor\t: 1\n"


def cpu(monkeypatch: pytest.MonkeyPatch, about: str | None) -> dict[str, str]:
    def read(path: Path, **options: str) -> str:
        if about is None:
            raise FileNotFoundError(path)
        return about

    monkeypatch.setattr(Path, "read_text", read)
    return numpy_features()


def test_an_amd_processor_with_avx_512_sorts_without_it(monkeypatch):
    monkeypatch.delenv("NPY_ENABLE_CPU_FEATURES", raising=False)
    assert cpu(monkeypatch, ZEN4) == {"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL"}


@pytest.mark.parametrize("about", [None, ZEN4.replace("AuthenticAMD", "GenuineIntel"), ZEN4.replace(" avx512f", "")])
def test_other_processors_keep_what_they_have(monkeypatch, about):
    assert cpu(monkeypatch, about) == {}


def test_who_enables_features_by_hand_is_not_contradicted(monkeypatch):
    """numpy refuses to start with both variables set."""
    monkeypatch.setenv("NPY_ENABLE_CPU_FEATURES", "X86_V4")
    assert cpu(monkeypatch, ZEN4) == {}


# --- which device


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The device files of a machine with two GPUs, whose torch has CUDA."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(environment, "version", lambda name: "2.13.0+cu130")
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    return tmp_path


def test_gpus_are_those_that_cuda_may_use(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    assert visible_gpus(machine) == 2
    for name, count in (("", 0), ("-1", 0), ("1", 1), ("GPU-7a,GPU-9b", 2)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", name)
        assert visible_gpus(machine) == count


def test_by_itself_the_gpu_is_taken_where_it_can_be_used(machine: Path) -> None:
    assert chosen_device("auto", machine) == "cuda"
    (machine / "nvidiactl").unlink()
    assert chosen_device("auto", machine) == "cpu"


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_are_hidden_are_not_taken(monkeypatch: pytest.MonkeyPatch, machine: Path, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert chosen_device("auto", machine) == "cpu"


def test_a_torch_for_processors_alone_takes_no_gpu(monkeypatch: pytest.MonkeyPatch, machine: Path) -> None:
    monkeypatch.setattr(environment, "version", lambda name: "2.13.0+cpu")
    assert chosen_device("auto", machine) == "cpu"


def test_a_device_that_is_named_is_not_questioned(machine: Path) -> None:
    assert chosen_device("cpu", machine) == "cpu"
    assert chosen_device("cuda", machine / "nothing") == "cuda"
