"""Softshrink and its gradient as kernels of our own: C++ on the CPU, CUDA C++ by NVRTC, Metal by MPS's compiler.

Two kernels for each of three dtypes: ``shrink(x) -> y`` and ``shrink_backward(gradient, y) -> gradient of x``, which is
the gradient where y is not zero. ``build`` compiles all of them, so that nothing is compiled while a model runs.

Only the C++ kernels have run on every test; the CUDA and Metal ones need their devices (README.md says what has run).
"""

from __future__ import annotations

import ctypes
import functools
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.errors import Unsupported

#: (x, y, lambd) and (gradient, y, gradient of x): each fills its last tensor.
Forward = Callable[[Tensor, Tensor, float], None]
Backward = Callable[[Tensor, Tensor, Tensor], None]

#: Of a compiler's complaint.
LONGEST_REASON = 400
NAMES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}

CPP = r"""
#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

namespace {
constexpr int64_t kGrain = 32768;  // as ATen's own element-wise kernels

template <typename T>
void shrink(const T* x, T* y, int64_t n, float lambd) {
  at::parallel_for(0, n, kGrain, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float v = static_cast<float>(x[i]);
      y[i] = static_cast<T>(v > lambd ? v - lambd : (v < -lambd ? v + lambd : 0.0f));
    }
  });
}

template <typename T>
void backward(const T* g, const T* y, T* out, int64_t n) {
  at::parallel_for(0, n, kGrain, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      out[i] = static_cast<float>(y[i]) != 0.0f ? g[i] : static_cast<T>(0.0f);
    }
  });
}
}  // namespace

#define EXPORT(NAME, T)                                                                              \
  extern "C" void shrink_##NAME(const T* x, T* y, int64_t n, float lambd) { shrink<T>(x, y, n, lambd); } \
  extern "C" void backward_##NAME(const T* g, const T* y, T* out, int64_t n) { backward<T>(g, y, out, n); }
EXPORT(f32, float)
EXPORT(f16, c10::Half)
EXPORT(bf16, c10::BFloat16)
"""

#: Without CUDA's headers, which NVRTC may not find: half and bfloat16 are moved as 16 bits and converted by PTX.
CUDA = r"""
struct f32 { using T = float;
  static __device__ float get(T v) { return v; }
  static __device__ T put(float v) { return v; } };
struct f16 { using T = unsigned short;
  static __device__ float get(T v) { float f; asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v)); return f; }
  static __device__ T put(float v) { T h; asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(v)); return h; } };
struct bf16 { using T = unsigned short;
  static __device__ float get(T v) { return __uint_as_float(static_cast<unsigned>(v) << 16); }
  static __device__ T put(float v) {  // round to nearest even; NaN stays one
    const unsigned u = __float_as_uint(v);
    if (v != v) return static_cast<T>((u >> 16) | 0x40u);
    return static_cast<T>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16); } };

#define EXPORT(N)                                                                                     \
  extern "C" __global__ void shrink_##N(const N::T* x, N::T* y, int n, double lambd) {                  \
    const int i = blockIdx.x * blockDim.x + threadIdx.x;                                              \
    if (i >= n) return;                                                                               \
    const float v = N::get(x[i]), l = static_cast<float>(lambd);                                      \
    y[i] = N::put(v > l ? v - l : (v < -l ? v + l : 0.0f)); }                                         \
  extern "C" __global__ void backward_##N(const N::T* g, const N::T* y, N::T* out, int n) {             \
    const int i = blockIdx.x * blockDim.x + threadIdx.x;                                              \
    if (i < n) out[i] = N::get(y[i]) != 0.0f ? g[i] : N::put(0.0f); }
EXPORT(f32)
EXPORT(f16)
EXPORT(bf16)
"""
THREADS = 256

#: bfloat is a type of Metal 3.1 (macOS 14) and later.
METAL = r"""
#include <metal_stdlib>
using namespace metal;

#define EXPORT(N, T)                                                                                  \
  kernel void shrink_##N(device const T* x [[buffer(0)]], device T* y [[buffer(1)]],                  \
                         constant float& l [[buffer(2)]], uint i [[thread_position_in_grid]]) {       \
    const float v = float(x[i]);                                                                      \
    y[i] = T(v > l ? v - l : (v < -l ? v + l : 0.0f)); }                                              \
  kernel void backward_##N(device const T* g [[buffer(0)]], device const T* y [[buffer(1)]],          \
                           device T* out [[buffer(2)]], uint i [[thread_position_in_grid]]) {         \
    out[i] = float(y[i]) != 0.0f ? g[i] : T(0.0f); }
EXPORT(f32, float)
EXPORT(f16, half)
EXPORT(bf16, bfloat)
"""


def build(device: torch.device) -> Callable[[Tensor, float], Tensor]:
    """Softshrink by kernels for ``device``, compiled now.

    Raises:
        Unsupported: there is no compiler for it here; in the compiler's words.
    """
    try:
        shrinks, backwards = {"cpu": _cpu, "cuda": _cuda, "mps": _metal}[device.type]()
    except (KeyError, RuntimeError, OSError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"[:LONGEST_REASON]
        raise Unsupported(f"no kernel of our own on {device.type}: {said}") from error

    class Shrink(torch.autograd.Function):
        """The two kernels, as autograd sees them."""

        @staticmethod
        def forward(ctx: Any, x: Tensor, lambd: float) -> Tensor:
            x = x.contiguous()
            y = torch.empty_like(x)
            shrinks[x.dtype](x, y, lambd)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
            (y,) = ctx.saved_tensors
            gradient = gradient.contiguous()
            out = torch.empty_like(y)
            backwards[y.dtype](gradient, y, out)
            return out, None

    @torch.compiler.disable  # it cannot look into them, and calls them between two graphs
    def shrink(x: Tensor, lambd: float) -> Tensor:
        made: Tensor = Shrink.apply(x, lambd)
        return made

    return shrink


def _cpu() -> tuple[dict[torch.dtype, Forward], dict[torch.dtype, Backward]]:
    """Compiled anew in every process, in a folder of its own: a cached build would say nothing of its time."""
    from torch.utils import cpp_extension

    folder = Path(tempfile.mkdtemp(prefix="twinbench-softshrink-"))
    try:
        source = folder / "softshrink.cpp"
        source.write_text(CPP, encoding="utf-8")
        name = "twinbench_softshrink"
        flags = ["-O3", "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"]
        path = cpp_extension.load(
            name, [str(source)], extra_cflags=flags, build_directory=str(folder), is_python_module=False
        )
        library = ctypes.CDLL(path or str(folder / f"{name}.so"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # loaded, it needs its file no longer
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    forward: dict[torch.dtype, Forward] = {}
    backward: dict[torch.dtype, Backward] = {}
    for dtype, suffix in NAMES.items():
        shrink, back = library[f"shrink_{suffix}"], library[f"backward_{suffix}"]
        shrink.argtypes, shrink.restype = [pointer, pointer, count, ctypes.c_float], None
        back.argtypes, back.restype = [pointer, pointer, pointer, count], None
        forward[dtype] = functools.partial(_call_forward, shrink)
        backward[dtype] = functools.partial(_call_backward, back)
    return forward, backward


def _call_forward(function: Any, x: Tensor, y: Tensor, lambd: float) -> None:
    function(x.data_ptr(), y.data_ptr(), x.numel(), lambd)


def _call_backward(function: Any, gradient: Tensor, y: Tensor, out: Tensor) -> None:
    function(gradient.data_ptr(), y.data_ptr(), out.data_ptr(), y.numel())


def _cuda() -> tuple[dict[torch.dtype, Forward], dict[torch.dtype, Backward]]:
    """By NVRTC, through torch.cuda._compile_kernel: private, in torch 2.9 to 2.13 at least; its absence is a reason."""
    compiled = {
        f"{kind}_{suffix}": torch.cuda._compile_kernel(CUDA, f"{kind}_{suffix}")
        for kind in ("shrink", "backward")
        for suffix in NAMES.values()
    }

    def launch(name: str, size: int, *arguments: Any) -> None:
        compiled[name](grid=(-(-size // THREADS), 1, 1), block=(THREADS, 1, 1), args=list(arguments))

    def forward(name: str) -> Forward:
        return lambda x, y, lambd: launch(name, x.numel(), x, y, x.numel(), float(lambd))

    def backward(name: str) -> Backward:
        return lambda gradient, y, out: launch(name, y.numel(), gradient, y, out, y.numel())

    return (
        {dtype: forward(f"shrink_{suffix}") for dtype, suffix in NAMES.items()},
        {dtype: backward(f"backward_{suffix}") for dtype, suffix in NAMES.items()},
    )


def _metal() -> tuple[dict[torch.dtype, Forward], dict[torch.dtype, Backward]]:
    """By torch.mps.compile_shader; a kernel runs in as many threads as its first tensor has numbers."""
    library = torch.mps.compile_shader(METAL)
    return (
        {dtype: getattr(library, f"shrink_{suffix}") for dtype, suffix in NAMES.items()},
        {dtype: getattr(library, f"backward_{suffix}") for dtype, suffix in NAMES.items()},
    )
