"""What stands in the environment before numpy is imported."""

from pathlib import Path

import pytest

from reviewlm.environment import numpy_features

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
