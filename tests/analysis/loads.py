"""Plans of one server at several rates, and requests that take longer the more there are."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from bench.launch.corun import Window
from bench.plan.schedule import Trial

SERVER = "resnet50-server"


def plan(*rates: float) -> str:
    mixes = (f"  at {rate:g}: [bert-base-training, {{workload: {SERVER}, rate: {rate:g}}}]" for rate in rates)
    return "\n".join(["name: load", "modes: [mps]", "mixes:", *mixes, "blocks: 2", ""])


def slower_with_load(trial: Trial, window: Window) -> Mapping[str, Any]:
    """Return requests at the rate of the plan, each of which takes as many milliseconds as come in a second."""
    rate = next(float(job.parameters["rate"]) for job in trial.mix.jobs if job.serves_users)
    due_s = np.arange(window.start_s, window.stop_s, 1 / rate)
    columns = {"scheduled_s": due_s, "sent_s": due_s, "done_s": due_s + rate / 1000}
    return {**columns, "items": np.ones(len(due_s)), "status": np.full(len(due_s), "ok")}
