"""Forms in which libraries report that memory has run out."""

import pytest
import torch

from alexlab.performance.out_of_memory import is_out_of_memory

# as printed by torch 2.14 or by the library itself
FORMS = [
    "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported ...",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    "cuFFT error: HIPFFT_ALLOC_FAILED",
    "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    "HIP error: out of memory\nHIP kernel errors might be asynchronously reported ...",
    "CUDA error: HIPBLAS_STATUS_ALLOC_FAILED when calling `hipblasCreate(handle)`",
    "miopenStatusAllocFailed",
    "MPS backend out of memory (MPS allocated: 9.07 GB, other allocations: 1.2 GB)",
    "NCCL Error 1: unhandled cuda error ... Cuda failure 2 'out of memory'",
    "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory",
    "could not create a primitive",
    "std::bad_alloc",
]


@pytest.mark.parametrize("text", FORMS)
def test_it_is_recognised(text):
    assert is_out_of_memory(RuntimeError(text))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: device-side assert triggered",
        "cuFFT error: CUFFT_INTERNAL_ERROR",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`",
        "mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)",
    ],
)
def test_other_errors_are_not(text):
    assert not is_out_of_memory(RuntimeError(text))
    assert not is_out_of_memory(ValueError("CUDA error: out of memory"))


def test_torchs_own_errors():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    if hasattr(torch, "AcceleratorError"):
        assert issubclass(torch.AcceleratorError, RuntimeError)
