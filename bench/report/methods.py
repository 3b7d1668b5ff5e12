"""How the numbers were made, in plain words and with sources."""

from bench.analysis.summary import Comparison
from bench.stats.quantile import minimum_count
from bench.stats.verdict import MAX_FAILURE_SHARE, MIN_BLOCKS


def methods(comparison: Comparison) -> list[tuple[str, str]]:
    """Return headings and paragraphs of the methods section, with the numbers of this run in them."""
    timing = comparison.plan.timing
    return [
        (
            "Design",
            "Randomised complete blocks. Every block enters each mode once, in random order, and runs that mode's trials in "
            "random order inside; mode is the whole-plot factor. Each distinct job also runs alone in every block. A trial "
            "starts fresh processes, warms them up one after another, and releases them at one instant. The trial is the unit "
            "of replication; steps inside it are not. (Mytkowicz et al., ASPLOS 2009.)",
        ),
        (
            "Window",
            f"What counts is the window from {timing.settle_s:g} s to {timing.settle_s + timing.window_s:g} s after the common "
            "start, declared before the run and never moved. A step across an edge is credited by the part of it inside. "
            "Latency is that of the steps that ended in the window.",
        ),
        (
            "Co-location metrics",
            "Normalised progress of a job is its rate beside its neighbours over its own rate alone in the same block. STP is "
            "their sum, ANTT the mean of their reciprocals; the smallest progress shows starvation that STP hides. (Eyerman & "
            "Eeckhout, IEEE Micro 28(3), 2008; Jain, Chiu & Hawe, DEC-TR-301, 1984.) Exclusive is derived: n jobs take turns, "
            "so progress is 1/n, STP 1, ANTT n. Rates of different units are never added. Where a mode cuts the device, "
            "slowdown = (rate alone on the whole device / rate alone in the share) × (rate alone in the share / rate beside "
            "neighbours).",
        ),
        (
            "Contrasts",
            "Ratio of two modes: mean of the log-ratios over the blocks in which both are ok, with Student's t interval "
            "(95 %), transformed back; it equals the ratio of geometric means. Against exclusive, STP is held against the "
            "constant 1. The primary family, declared in the plan, is each sharing mode against exclusive and against the "
            f"baseline in {', '.join(comparison.plan.primary)}, corrected by Holm (1979); everything else is exploratory and "
            "corrected by Benjamini & Hochberg (1995). Intervals are not widened for multiplicity.",
        ),
        (
            "Verdicts",
            f"Fewer than {MIN_BLOCKS} blocks: not enough data. Better or worse: adjusted p below 0.05. No difference shown is "
            f"not a proof that there is none. A mode that fails in more than {MAX_FAILURE_SHARE:.0%} of its blocks cannot win. "
            "Whether the best mode is apart from its rivals is tested over all pairs of modes with Holm (exploratory).",
        ),
        (
            "Percentiles",
            f"Nearest rank, in each trial; p99 needs {minimum_count(0.99)} steps (Wilks, 1941) and is a dash below. Their "
            "interval comes from blocks.",
        ),
        (
            "Energy",
            "From the driver's cumulative counter, interpolated at the edges of the window; where there is none, from sampled "
            "power. It is the whole device's and is never split between jobs. Exclusive is the mean power of the solo trials.",
        ),
        (
            "Failure and absence",
            "A trial is ok, failed (the job's fault), invalid (an instrument fault or a mode that could not be proven) or "
            "skipped (the device cannot do it). Nothing is dropped silently. A dash is a value that could not be had; the note "
            "says why. An infinite value (∞) belongs to a job that did no work.",
        ),
    ]
