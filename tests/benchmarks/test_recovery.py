"""The smaller version of `benchmarks/recovery.py`: one run, whose equal mixes stand for seeds."""

import math
import shutil
import tempfile

import pytest
from scipy import stats
from scripts import FOLDER, load

MIXES = tuple(f"pair {number}" for number in range(1, 7))
SEED = 20_260_101

RECOVERY = load("recovery")
TRUTHS = RECOVERY.truths()
SIDE_BY_SIDE = [ratio for ratio in TRUTHS if (ratio.metric, ratio.baseline) == ("rate", "time-slicing")]
"""Contrasts that share no trial with those of another mix, as those against the solo rates do."""


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:
        folder = tempfile.mkdtemp(prefix="b", dir="/tmp")  # short: an MPS socket must fit in 107 bytes
        patch.setenv("BENCH_STATE_DIR", folder)
        contrasts = RECOVERY.measure(SEED, mixes=MIXES)
        yield [dict(RECOVERY.intervals(contrasts, mix)) for mix in MIXES]
        shutil.rmtree(folder)


def test_intervals_contain_the_noise_free_answer(found):
    tried = [(run[ratio], TRUTHS[ratio]) for run in found for ratio in SIDE_BY_SIDE]
    covered = sum(each.covers(truth) for each, truth in tried)
    assert stats.binomtest(covered, len(tried), 0.95, "less").pvalue >= RECOVERY.LEVEL, (
        f"{covered} of {len(tried)}"
    )


@pytest.mark.parametrize("ratio", TRUTHS, ids=" ".join)
def test_estimates_are_not_biased(found, ratio):
    """Three standard errors: 0.7 % between modes, 1.4 % against the solo rates."""
    logs = [math.log(run[ratio].ratio / TRUTHS[ratio]) for run in found]
    shared = ratio.baseline == "exclusive"  # one solo rate for all mixes: its own luck is no bias
    spread = RECOVERY.TRIAL_CV / math.sqrt(RECOVERY.BLOCKS) if shared else 0
    assert abs(sum(logs) / len(logs)) < 3 * math.hypot(spread, stats.sem(logs))


def test_the_published_table_is_that_of_the_script():
    page = (FOLDER.parent / "docs" / "recovery.md").read_text(encoding="utf-8")
    assert page.startswith(RECOVERY.HEAD)
    rows = [row.strip("| ").split(" | ") for row in page.splitlines() if row.startswith("| ")][1:]
    told = [(contrast, metric, truth) for contrast, metric, truth, *_ in rows]
    assert told == [RECOVERY.named(ratio, truth) for ratio, truth in RECOVERY.truths().items()]
