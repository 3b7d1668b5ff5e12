"""What the modelled boards do per second, relative to the A100-80GB, for which the catalog gives step costs.

GPU time is divided by the geometric mean of two data-sheet ratios: peak dense BF16 tensor rate and memory
bandwidth. That is an assumption, good for a picture and not for a prediction; only the A100-80GB has been checked
against measurements.
"""

import math

_PEAKS = {  # dense BF16 tensor TFLOP/s, memory GB/s; NVIDIA data sheets of the boards
    "a100-80gb": (312, 2039),
    "a100-40gb": (312, 1555),
    "h100-80gb": (989, 3350),
    "h200-141gb": (989, 4800),
    "a30-24gb": (165, 933),
    "rtx-4090": (165, 1008),
    "rtx-pro-6000": (504, 1597),
}
REFERENCE = "a100-80gb"
_CHECKED = {
    "a100-80gb": (
        "mean error 5.2 % over 326 MPS co-locations of equal jobs and 4.2 % over MIG slices (ParvaGPU's public "
        "A100-80GB profile), at most 1.4 % on the nos table; unlike jobs under MPS are 28 to 42 % off (MISO mixes)"
    )
}


def speed(model: str) -> float:
    """Return how many times faster than the A100-80GB a board's GPU work goes (assumed)."""
    (tensor, memory), (tensor_0, memory_0) = _PEAKS[model], _PEAKS[REFERENCE]
    return math.sqrt(tensor / tensor_0 * memory / memory_0)


def validation(model: str) -> str | None:
    """Return the published error of the model for this board, or None where nothing has checked it."""
    return _CHECKED.get(model)
