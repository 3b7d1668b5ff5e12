"""Work that presses on one resource and, as far as torch can, on no other.

Each function takes the size of a piece of work and returns a callable that queues it; the caller synchronises. On
the CPU the same operations run with the CPU's own arithmetic and memory, as stand-ins for tests.
"""

# ruff: noqa: PLC0415  (late imports: --help is instant, and a missing library is reported as an event)
from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from workloads.torch_device import TorchDevice

if TYPE_CHECKING:
    from torch import Tensor

Work = Callable[[], None]

GIGA = 10**9
LANES = 500_000  # numbers that a GPU's chains work on: enough threads for any, and 2 MB that are read once
CPU_LANES = 100_000  # numbers that stay in a core's own cache
SIDE = 5000  # of the square matrix that tensor cores multiply by: 50 MB in bf16
HOST_SIDE = 500  # of the host's matrices: 1 MB in fp32, which stays in a core's cache
TOUCH_STRIDE = 2 * 2**20  # bytes: the GPU's large page
TOUCH_REST_S = 0.01

FMA_CHAIN = """
template <typename T> T fma_chain(T x, T links) {
    for (int link = 0; link < int(links); ++link) { x = x * T(0.999) + T(0.001); }
    return x;
}
"""


def sm_arithmetic(options: Namespace, device: TorchDevice) -> Work:
    """Multiply and add in FP32, in chains that stay in registers: one CUDA kernel, compiled by torch at run time.

    The CPU multiplies and adds a small tensor in place.
    """
    import torch

    lanes = LANES if device.is_cuda else CPU_LANES
    links = options.batch_size * GIGA // (2 * lanes)
    numbers = torch.rand(lanes, device=device.torch_device)
    if device.is_cuda:
        chain = torch.cuda.jiterator._create_jit_fn(FMA_CHAIN, links=0.0)
        return lambda: chain(numbers, links=float(links))
    one = torch.ones(())

    def work() -> None:
        for _ in range(links):
            torch.addcmul(one, numbers, one, value=0.5, out=numbers)

    return work


def tensor_cores(options: Namespace, device: TorchDevice) -> Work:
    """Multiply two matrices in the chosen precision (bf16 unless told otherwise)."""
    import torch

    rows = options.batch_size * GIGA // (2 * SIDE**2)
    left = torch.rand(rows, SIDE, device=device.torch_device, dtype=device.dtype)
    right = torch.rand(SIDE, SIDE, device=device.torch_device, dtype=device.dtype)
    product = torch.empty(rows, SIDE, device=device.torch_device, dtype=device.dtype)

    def work() -> None:
        torch.matmul(left, right, out=product)

    return work


def memory_sweep(options: Namespace, device: TorchDevice) -> Work:
    """Read and write a working set: in L2 where it fits there, in device memory where it does not."""
    import torch

    sweeps, count = _split(options, bytes_an_element=8)  # 4 read, 4 written
    numbers = torch.zeros(count, device=device.torch_device)

    def work() -> None:
        for _ in range(sweeps):
            numbers.add_(1.0)

    return work


def host_to_device(options: Namespace, device: TorchDevice) -> Work:
    """Copy from pinned host memory to the device."""
    return _copies(options, device, to_device=True)


def device_to_host(options: Namespace, device: TorchDevice) -> Work:
    """Copy from the device to pinned host memory."""
    return _copies(options, device, to_device=False)


def host_arithmetic(options: Namespace, _device: TorchDevice) -> Work:
    """Multiply small matrices on all the host cores that the job has; the device stays idle."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    left, right, product = (torch.rand(HOST_SIDE, HOST_SIDE) for _ in range(3))
    products = options.batch_size * GIGA // (2 * HOST_SIDE**3)

    def work() -> None:
        for _ in range(products):
            torch.matmul(left, right, out=product)

    return work


def memory_footprint(options: Namespace, device: TorchDevice) -> Work:
    """Hold `intensity` of the memory that the job sees; touch its large pages a hundred times a second."""
    import torch

    share = options.intensity * device.identity()["memory_total_mib"] * 2**20
    held = torch.zeros(int(share), dtype=torch.uint8, device=device.torch_device)

    def work() -> None:
        for _ in range(options.batch_size):
            held[::TOUCH_STRIDE].add_(1)
        device.synchronize()
        time.sleep(TOUCH_REST_S)

    return work


PRESSURES: dict[str, Callable[[Namespace, TorchDevice], Work]] = {
    "sm": sm_arithmetic,
    "tensor": tensor_cores,
    "memory": memory_sweep,
    "pcie-h2d": host_to_device,
    "pcie-d2h": device_to_host,
    "host": host_arithmetic,
    "footprint": memory_footprint,
}


def _copies(options: Namespace, device: TorchDevice, *, to_device: bool) -> Work:
    import torch

    copies, count = _split(options, bytes_an_element=4)
    on_host: Tensor = torch.zeros(count, pin_memory=device.is_cuda)
    on_device = torch.zeros(count, device=device.torch_device)
    source, target = (on_host, on_device) if to_device else (on_device, on_host)

    def work() -> None:
        for _ in range(copies):
            target.copy_(source, non_blocking=True)

    return work


def _split(options: Namespace, *, bytes_an_element: int) -> tuple[int, int]:
    """Return passes, and elements (of 4 bytes) a pass, that move the step's GB over about the working set."""
    elements = options.batch_size * GIGA / bytes_an_element
    passes = max(1, round(elements * 4 / (options.working_set_mb * 1e6)))
    return passes, round(elements / passes)
