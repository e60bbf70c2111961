"""How fast a device is: a program of its own, run once for each. Prints one number; 100 is the reference.

It speaks to the driver alone (libcuda.so.1), so the node needs no CUDA of its own: a copy within the device's memory
tells its bandwidth, a loop of multiply-adds its arithmetic. $CUDA_VISIBLE_DEVICES names the one device to measure.
"""

from __future__ import annotations

import ctypes
import math
import sys
import time

#: the reference: bytes moved and single-precision operations in a second
REFERENCE_BANDWIDTH, REFERENCE_OPERATIONS = 500e9, 10e12
COPY_BYTES, COPIES = 128 * 1024 * 1024, 20
BLOCKS, THREADS, TURNS, CHAINS = 1024, 256, 4096, 8
ROUNDS = 3

_CHAIN = "\n".join(f"  fma.rn.f32 %f{i}, %f{i}, %f8, %f9;" for i in range(CHAINS))
_START = "\n".join(f"  cvt.rn.f32.u32 %f{i}, %r3;" for i in range(CHAINS))
_SUM = "\n".join(f"  add.f32 %f0, %f0, %f{i};" for i in range(1, CHAINS))
#: every thread keeps CHAINS independent chains of multiply-adds busy and writes one number, so that none is optimised
#: away; the driver compiles this text for its device
PTX = f"""
.version 6.0
.target sm_50
.address_size 64
.visible .entry turns(.param .u64 out, .param .u32 count) {{
  .reg .pred %p<2>;
  .reg .f32 %f<10>;
  .reg .b32 %r<6>;
  .reg .b64 %d<4>;
  ld.param.u64 %d0, [out];
  ld.param.u32 %r4, [count];
  mov.u32 %r0, %ctaid.x;
  mov.u32 %r1, %ntid.x;
  mov.u32 %r2, %tid.x;
  mad.lo.s32 %r3, %r0, %r1, %r2;
{_START}
  mov.f32 %f8, 0f3F7FFF00;
  mov.f32 %f9, 0f3A83126F;
AGAIN:
{_CHAIN}
  add.s32 %r4, %r4, -1;
  setp.ne.s32 %p0, %r4, 0;
  @%p0 bra AGAIN;
{_SUM}
  cvta.to.global.u64 %d1, %d0;
  mul.wide.u32 %d2, %r3, 4;
  add.s64 %d3, %d1, %d2;
  st.global.f32 [%d3], %f0;
  ret;
}}
"""


class Failed(Exception):
    """The driver refused a call."""


class Cuda:
    """The few calls of CUDA's driver interface that this needs, each checked."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")

    def __call__(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise Failed(f"{name} answered {code}")


def measure() -> float:
    """The score of the one visible device. Raises Failed, OSError."""
    cuda = Cuda()
    device, context = ctypes.c_int(), ctypes.c_void_p()
    cuda("cuInit", 0)
    cuda("cuDeviceGet", ctypes.byref(device), 0)
    cuda("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    try:
        cuda("cuCtxSetCurrent", context)
        bandwidth = max(_bandwidth(cuda) for _ in range(ROUNDS))
        operations = max(_operations(cuda) for _ in range(ROUNDS))
    finally:
        cuda("cuDevicePrimaryCtxRelease_v2", device)
    return 100 * math.sqrt(bandwidth / REFERENCE_BANDWIDTH * operations / REFERENCE_OPERATIONS)


def _bandwidth(cuda: Cuda) -> float:
    """Bytes read and written in a second."""
    one, other = ctypes.c_uint64(), ctypes.c_uint64()
    size = ctypes.c_size_t(COPY_BYTES)
    cuda("cuMemAlloc_v2", ctypes.byref(one), size)
    try:
        cuda("cuMemAlloc_v2", ctypes.byref(other), size)
        try:
            cuda("cuMemcpyDtoD_v2", other, one, size)
            cuda("cuCtxSynchronize")
            began = time.perf_counter()
            for _ in range(COPIES):
                cuda("cuMemcpyDtoD_v2", other, one, size)
            cuda("cuCtxSynchronize")
            return 2 * COPIES * COPY_BYTES / (time.perf_counter() - began)
        finally:
            cuda("cuMemFree_v2", other)
    finally:
        cuda("cuMemFree_v2", one)


def _operations(cuda: Cuda) -> float:
    """Single-precision multiplications and additions in a second."""
    module, function, out = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_uint64()
    cuda("cuModuleLoadData", ctypes.byref(module), PTX.encode())
    try:
        cuda("cuModuleGetFunction", ctypes.byref(function), module, b"turns")
        cuda("cuMemAlloc_v2", ctypes.byref(out), ctypes.c_size_t(4 * BLOCKS * THREADS))
        try:
            _launch(cuda, function, out, 16)
            began = time.perf_counter()
            _launch(cuda, function, out, TURNS)
            return 2.0 * BLOCKS * THREADS * TURNS * CHAINS / (time.perf_counter() - began)
        finally:
            cuda("cuMemFree_v2", out)
    finally:
        cuda("cuModuleUnload", module)


def _launch(cuda: Cuda, function: ctypes.c_void_p, out: ctypes.c_uint64, turns: int) -> None:
    count = ctypes.c_uint32(turns)
    arguments = (ctypes.c_void_p * 2)(ctypes.addressof(out), ctypes.addressof(count))
    cuda("cuLaunchKernel", function, BLOCKS, 1, 1, THREADS, 1, 1, 0, None, arguments, None)
    cuda("cuCtxSynchronize")


if __name__ == "__main__":
    try:
        print(f"{measure():.1f}")  # noqa: T201 - what it is for
    except (Failed, OSError, AttributeError) as error:
        sys.exit(str(error))
