"""The co-location law: how long a step takes, given what shares the device with it.

Per step, T(n) = max(H, A + B * n): H is host and launch time, A is GPU time that does not shrink with more SMs, B
is GPU time that does, and n = 1 / (share of the device's SMs). Three numbers a job, obtained alone.

Sources. Law, MPS and MIG: fitted and checked on ParvaGPU's public A100-80GB profile (MunQ-Lee/ParvaGPU_SC24,
SC'24): 5.2 % mean error over 326 MPS co-locations of equal jobs. Time-slicing: round robin with a switch overhead
of 10 % of the quantum, checked on nebuly-ai/nos (demos/gpu-sharing-comparison), 1.4 % largest error. MPS between
unlike jobs is the law's weak side: 28 to 42 % error on the MISO mixes, because kernels are served first come.
"""

from collections.abc import Sequence
from dataclasses import dataclass

SWITCH_OVERHEAD = 0.10  # context switch over quantum; observed 0.07 to 0.22
INTERFERENCE = 0.005  # per co-runner under MPS (kappa); fitted on ParvaGPU, 0.0025 to 0.0075 leaving one model out
ROUNDS = 200  # of the fixed points below; they settle to 1e-9 in a few tens


@dataclass(frozen=True)
class Cost:
    """What one step of a job costs on the whole device, in seconds: host (H), fixed (A) and scaling (B) time."""

    host_s: float
    fixed_s: float
    scaling_s: float

    def on_share(self, n: float) -> "Cost":
        """Return the cost on a device with 1/n of the SMs."""
        return Cost(self.host_s, self.fixed_s, self.scaling_s * n)

    def sped_up(self, factor: float) -> "Cost":
        """Return the cost on a device whose GPU work goes `factor` times as fast."""
        return Cost(self.host_s, self.fixed_s / factor, self.scaling_s / factor)

    @property
    def gpu_s(self) -> float:
        """GPU time of a step."""
        return self.fixed_s + self.scaling_s

    @property
    def alone_s(self) -> float:
        """Duration of a step with nothing beside it; host and GPU work overlap."""
        return max(self.host_s, self.gpu_s)


def time_sliced(costs: Sequence[Cost]) -> list[float]:
    """Return each job's step time when contexts take turns; a context without work gives its turn away."""
    steps = [cost.alone_s for cost in costs]
    busy = [cost.gpu_s / step for cost, step in zip(costs, steps, strict=True)]
    for _ in range(ROUNDS):
        others = [sum(busy) - own for own in busy]
        gpu = [
            cost.gpu_s * (1 + beside) * (1 + SWITCH_OVERHEAD * min(1.0, beside))
            for cost, beside in zip(costs, others, strict=True)
        ]
        steps = [max(cost.host_s, time) for cost, time in zip(costs, gpu, strict=True)]
        busy = [time / step for time, step in zip(gpu, steps, strict=True)]
    return steps


def concurrent(costs: Sequence[Cost], caps: Sequence[float]) -> list[float]:
    """Return each job's step time under MPS; `caps` are the shares of SMs they are limited to (1: none).

    SMs are split evenly among the clients that have work; caps that together fit the device keep clients apart.
    """
    partitioned = sum(caps) <= 1.0 + 1e-9
    steps = [cost.alone_s for cost in costs]
    present = [1.0] * len(costs)
    for _ in range(ROUNDS):
        gpu = []
        for cost, cap, own in zip(costs, caps, present, strict=True):
            beside = sum(present) - own
            n = 1 / cap if partitioned else max(1 / cap, 1 + beside)
            gpu.append((cost.fixed_s + cost.scaling_s * n) * (1 + INTERFERENCE * beside))
        steps = [max(cost.host_s, time) for cost, time in zip(costs, gpu, strict=True)]
        present = [min(1.0, time / step) for time, step in zip(gpu, steps, strict=True)]
    return steps
