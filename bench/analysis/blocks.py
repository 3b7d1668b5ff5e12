"""How many blocks a run needs, from those it has: Stein's two stages, or sequential looks, over primary contrasts.

Each asks for enough blocks that its 95 % interval reaches 5 % of the true ratio at most: by Stein's rule whatever
the true spread is; by looking again until it is so narrow, with a little less than the promised coverage. The
largest demand counts for every mode alike, up to the cap. Only spreads are looked at.
"""

import math
from collections.abc import Sequence

from bench.analysis.cells import Cells, Pairs, Question
from bench.analysis.colocation import block_cells
from bench.analysis.contrasts import primary_data
from bench.analysis.steadiness import is_counted
from bench.analysis.summary import measures, plan_of
from bench.analysis.trials import TrialMeasure
from bench.plan.model import Plan
from bench.stats.interval import t_quantile
from bench.stats.planning import LOOK_EVERY, SteinPlan, next_look, relative_to_true_mean, stein_plan
from bench.stats.ratio import log_ratios
from bench.store.decision import BlockDecision, BlockNeed
from bench.store.run_folder import RunFolder

TARGET = 0.05
LOG_HALF_WIDTH = math.log1p(relative_to_true_mean(TARGET))
"""On log-ratios, and relative to the true ratio instead of the estimated one (`relative_to_true_mean`)."""


def decide_blocks(run: RunFolder, known: Sequence[TrialMeasure] = ()) -> BlockDecision:
    """Return how many blocks those measured ask for; contrasts with fewer than two ok blocks ask for nothing.

    Blocks that were measured once more, longer, count as that. Trials that are `known` are not measured again.
    """
    plan = plan_of(run)
    most = plan.timing.most_blocks or plan.blocks
    repeats = run.repeats
    records = [each for each in run.trials() if each.block <= plan.blocks and is_counted(each, repeats)]
    trials = measures(run, records, known)
    cells = Cells(block_cells(trials, plan.mixes), records)
    needs = tuple(need for asked, pairs in primary_data(plan, cells) if (need := _need(asked, pairs, plan)))
    wanted = max((need.blocks for need in needs), default=0)
    return BlockDecision(
        rule=plan.timing.stopping, pilot_blocks=plan.blocks, blocks=max(plan.blocks, min(wanted, most)),
        most_blocks=most, target=TARGET, needs=needs,
    )  # fmt: skip


def _need(asked: Question, pairs: Pairs, plan: Plan) -> BlockNeed | None:
    stein = stein_plan(log_ratios(pairs.values, pairs.baseline), LOG_HALF_WIDTH)
    if stein is None:
        return None
    return BlockNeed(
        mix=asked.mix, metric=asked.metric.name, mode=asked.mode, baseline=asked.baseline,
        pilot_blocks=stein.pilot_n, log_sd=stein.pilot_sd,
        blocks=_next_look(stein, plan) if plan.timing.stopping == "sequential" else stein.n,
    )  # fmt: skip


def _next_look(seen: SteinPlan, plan: Plan) -> int:
    """Return at how many blocks a contrast wants the next look; more than the cap if it is still wide there."""
    half_width = t_quantile(seen.pilot_n - 1, seen.confidence) * seen.pilot_sd / math.sqrt(seen.pilot_n)
    enough = plan.blocks if half_width <= LOG_HALF_WIDTH else plan.blocks + LOOK_EVERY
    return next_look(plan.blocks, half_width, LOG_HALF_WIDTH, plan.timing.most_blocks or plan.blocks) or enough
