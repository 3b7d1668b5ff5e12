"""How many blocks a run needs, from its pilot: Stein's two stages over the primary family.

Each primary contrast asks for enough blocks that its 95 % interval reaches 5 % of the true ratio at most, whatever
the true spread is; the largest demand counts for every mode alike, up to the cap. Only spreads are looked at.
"""

import math
from collections.abc import Sequence

from bench.analysis.colocation import block_cells
from bench.analysis.contrasts import Cells, Pairs, Question, primary_data
from bench.analysis.steadiness import counts
from bench.analysis.summary import measures, plan_of
from bench.analysis.trials import TrialMeasure
from bench.stats.planning import relative_to_true_mean, stein_plan
from bench.stats.ratio import log_ratios
from bench.store.decision import BlockDecision, BlockNeed
from bench.store.run_folder import RunFolder

TARGET = 0.05
LOG_HALF_WIDTH = math.log1p(relative_to_true_mean(TARGET))
"""On log-ratios, and relative to the true ratio instead of the estimated one (`relative_to_true_mean`)."""


def decide_blocks(run: RunFolder, known: Sequence[TrialMeasure] = ()) -> BlockDecision:
    """Return how many blocks the pilot asks for; contrasts with fewer than two ok blocks ask for nothing.

    Blocks that were measured once more, longer, count as that. Trials that are `known` are not measured again.
    """
    plan = plan_of(run)
    most = plan.timing.most_blocks or plan.blocks
    repeats = run.repeats
    records = [each for each in run.trials() if each.block <= plan.blocks and counts(each, repeats)]
    trials = measures(run, records, known)
    cells = Cells(block_cells(trials, plan.mixes), records)
    needs = tuple(need for asked, pairs in primary_data(plan, cells) if (need := _need(asked, pairs)))
    wanted = max((need.blocks for need in needs), default=0)
    return BlockDecision(
        pilot_blocks=plan.blocks, blocks=max(plan.blocks, min(wanted, most)), most_blocks=most, target=TARGET,
        needs=needs,
    )  # fmt: skip


def _need(asked: Question, pairs: Pairs) -> BlockNeed | None:
    plan = stein_plan(log_ratios(pairs.values, pairs.baseline), LOG_HALF_WIDTH)
    if plan is None:
        return None
    return BlockNeed(
        mix=asked.mix, metric=asked.metric.name, mode=asked.mode, baseline=asked.baseline,
        pilot_blocks=plan.pilot_n, log_sd=plan.pilot_sd, blocks=plan.n,
    )  # fmt: skip
