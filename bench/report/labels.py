"""What every page and figure must say about where its numbers come from."""

from bench.analysis.summary import Comparison
from bench.report.table import DASH
from bench.stats.planning import FIRST_LOOK, LOOK_EVERY, SEQUENTIAL_WARNING
from bench.store.decision import BlockDecision

QUESTIONS = {
    "sharing": "Which way of sharing this GPU serves these jobs best?",
    "switching": "What does switching this GPU cost?",
}
NOT_VALIDATED = "not validated: no measurement of this device has been published that the model was held against"


def watermark(comparison: Comparison) -> str | None:
    """Return the words that run across every figure; None for a measured, publishable run."""
    words = ["SIMULATED"] if comparison.run.simulated else []
    if not comparison.plan.timing.publishable:
        words.append(f"{comparison.plan.timing.name.upper()} {DASH} not publishable")
    return "  ".join(words) or None


def whole(comparison: Comparison) -> str:
    """Say where a solo job was alone."""
    return "in what was found" if comparison.found else "on the whole device"


def banners(comparison: Comparison) -> list[str]:
    """Return the warnings that stand above everything else."""
    warnings = []
    if comparison.run.simulated and comparison.plan.timing.measures == "switching":
        warnings.append(
            "Simulated: no GPU was switched. The durations below are those of the simulated driver's tools, in "
            "real time on this host; they show that the way through works, and say nothing of a GPU. Simulated "
            "jobs open no CUDA context, so there is no first one to time."
        )
    elif comparison.run.simulated:
        warnings.append(
            "Simulated: no GPU was measured. Every number below is what the model predicts. "
            f"{_validation(comparison)}. Its noise, and so the width of every interval, is assumed."
        )
    if comparison.run.device.get("kind") == "cpu":
        warnings.append(
            "Measured on the host's processor, not on a GPU: it shows that the way through works, and says "
            "nothing about how a GPU is shared."
        )
    if comparison.found:
        warnings.append(
            f"As found: nothing was switched. Jobs ran in {comparison.found}. Solo is a job alone in that, taking "
            "turns is taking turns in that; power, energy and clocks are those of the whole board."
        )
    if not comparison.plan.timing.publishable:
        warnings.append(
            f"{comparison.plan.timing.name.capitalize()} timing: windows of {comparison.plan.timing.window_s:g} s "
            "show that everything works, and no more. Not publishable."
        )
    if comparison.missing:
        warnings.append(
            f"Incomplete: {comparison.missing} of {comparison.scheduled} scheduled trials have not been measured. "
            f"Go on with: python run_experiments.py --resume and the folder of run {comparison.run.run_id}."
        )
    return warnings


def _validation(comparison: Comparison) -> str:
    known = comparison.model_validation
    return f"Published error of the model: {known}" if known else f"The model is {NOT_VALIDATED}"


def block_remarks(decision: BlockDecision | None) -> list[str]:
    """Say how the number of blocks came about, where a pilot decided it."""
    if decision is None:
        return []
    wanted = f"95 % intervals within {100 * decision.target:g} % of the ratio"
    widest = max(decision.needs, key=lambda need: need.blocks, default=None)
    reached = f"enough for {wanted} in every primary contrast"
    if widest is None:
        reached = "of which too few were ok to ask for more"
    elif decision.capped:
        more = "more" if decision.rule == "sequential" else f"{widest.blocks}"
        reached = f"the most allowed; {wanted} would take {more} ({widest.mode}, {widest.mix})"
    if decision.rule == "sequential":
        looks = f"Looked at after {FIRST_LOOK} blocks and every {LOOK_EVERY} from then on"
        return [f"{looks}, stopped at {decision.blocks}, {reached}: {SEQUENTIAL_WARNING}."]
    return [
        f"After a pilot of {decision.pilot_blocks} blocks, Stein's rule set {decision.blocks} in all, {reached}. "
        "Intervals of contrasts use the pilot's spread and degrees of freedom."
    ]
