"""A machine that lacks memory is told from stored data that cannot be read."""

from __future__ import annotations

import pytest

from reviewlm.models.base import ModelError, translate_read_errors

SHORTAGES = [
    MemoryError(),
    RuntimeError("std::bad_alloc"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    OSError(12, "Cannot allocate memory"),
    ImportError("libtorch_cpu.so: failed to map segment from shared object"),
]


@pytest.mark.parametrize("shortage", SHORTAGES, ids=repr)
def test_a_shortage_of_memory_is_no_fault_of_the_data(shortage: BaseException) -> None:
    with pytest.raises(ModelError) as caught, translate_read_errors("the bundle"):
        raise shortage
    assert caught.value.kind == "memory"


@pytest.mark.parametrize("fault", [KeyError("spec"), OSError(5, "I/O error"), ValueError("x")])
def test_any_other_error_is_a_fault_of_the_data(fault: BaseException) -> None:
    with pytest.raises(ModelError) as caught, translate_read_errors("the bundle"):
        raise fault
    assert caught.value.kind == "bundle"
