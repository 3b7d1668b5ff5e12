"""Streaming multiprocessors of whole boards, by product name: no driver tool tells them outside MIG.

Source: NVIDIA's architecture papers of the boards; A100, H100 and A30 also by `nvidia-smi mig -lgip`.
"""

_COUNTS = {
    "A100": 108,
    "A30": 56,
    "H100 80GB HBM3": 132,
    "H100 PCIe": 114,
    "H100 NVL": 132,
    "H200": 132,
    "L40S": 142,
    "GeForce RTX 4090": 128,
    "GeForce RTX 3090": 82,
    "RTX PRO 6000 Blackwell": 188,
    "Tesla V100": 80,
    "Tesla T4": 40,
}


def known_sm_count(product_name: str) -> int | None:
    """Return the SMs of a board, or None where this table does not know it."""
    return next((count for name, count in _COUNTS.items() if name in product_name), None)
