"""What the CUDA driver says of this process's first device, asked through its C library, without a framework."""

import ctypes
from typing import Any

MIB = 2**20
_SM_COUNT, _UUID_BYTES, _NAME_BYTES = 16, 16, 256  # 16: CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT of cuda.h


def identity() -> dict[str, Any]:
    """Return name, UUID, SM count and memory (MiB) as this process sees them; raises OSError without a driver.

    Under MIG all four are those of the instance; under MPS the SM count is what the percentage leaves.
    """
    cuda = ctypes.CDLL("libcuda.so.1")
    device, count, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
    name, uuid = ctypes.create_string_buffer(_NAME_BYTES), ctypes.create_string_buffer(_UUID_BYTES)
    _checked(cuda.cuInit(0), "cuInit")
    _checked(cuda.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
    _checked(cuda.cuDeviceGetName(name, _NAME_BYTES, device), "cuDeviceGetName")
    _checked(cuda.cuDeviceGetUuid_v2(uuid, device), "cuDeviceGetUuid_v2")  # of the instance, under MIG
    _checked(cuda.cuDeviceGetAttribute(ctypes.byref(count), _SM_COUNT, device), "cuDeviceGetAttribute")
    _checked(cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device), "cuDeviceTotalMem_v2")
    model = name.value.decode()
    return {
        "device_name": model,
        "device_uuid": f"{'MIG' if ' MIG ' in model else 'GPU'}-{_spelled(uuid.raw)}",
        "sm_count": count.value,
        "memory_total_mib": memory.value // MIB,
    }


def _spelled(raw: bytes) -> str:
    """Write a UUID as the driver's tools do: 8-4-4-4-12 hexadecimal digits."""
    digits = raw.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _checked(status: int, call: str) -> None:
    if status:
        raise OSError(f"{call} of the CUDA driver answered with error {status}")
