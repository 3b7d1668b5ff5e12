"""The answer in one sentence per mix, as far as the data carry it. No winner is named that was not shown."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from bench.analysis.cells import Cells
from bench.analysis.colocation import EXCLUSIVE
from bench.analysis.contrasts import ALL_TRIALS, Contrast
from bench.analysis.metrics import ANTT, GOODPUT, METRICS, SMALLEST, TAIL
from bench.analysis.pairwise import pairwise
from bench.plan.model import Mix, Plan
from bench.plan.schedule import Role
from bench.stats.rounding import bare, counted, with_limits
from bench.stats.verdict import Verdict, fails_too_often
from bench.store.record import Status, TrialRecord

_DOES = {
    "stp": "finishes {ratio} times the work of taking turns",
    "antt": "has {ratio} times the average turnaround of taking turns",
    "smallest_progress": "gives its slowest job {ratio} times the speed that taking turns gives",
    "jain": "has {ratio} times the fairness index of taking turns",
}


@dataclass(frozen=True)
class Answer:
    """What this run says about one mix, in plain words."""

    mix: str
    text: str


@dataclass(frozen=True)
class Findings:
    """What an answer is made from."""

    plan: Plan
    cells: Cells
    contrasts: Sequence[Contrast]
    records: Sequence[TrialRecord]
    simulated: bool
    first_times: Sequence[TrialRecord] = ()
    """Trials of blocks that were measured once more, which are in no number."""

    def against_turns(self, mix: Mix, metric: str, job: str = "") -> list[Contrast]:
        """Return the contrasts of each sharing mode with taking turns, best first, unmeasured last."""
        rows = [
            row
            for row in self.contrasts
            if (row.mix, row.metric, row.job, row.baseline, row.trials)
            == (mix.name, metric, job, EXCLUSIVE, ALL_TRIALS)
        ]
        sign = -1 if METRICS[metric].higher_is_better else 1
        return sorted(rows, key=lambda row: (row.ratio is None, sign * (row.ratio or 0)))


def answer(findings: Findings, mix: Mix) -> Answer:
    """Answer for one mix: who wins by how much and how sure that is, or why nobody does."""
    lead = "The model predicts that for" if findings.simulated else "For"
    sentences = [f"{lead} the mix “{mix.name}”, {_claim(findings, mix)}", *_mishaps(findings, mix)]
    if not findings.plan.timing.publishable:
        sentences.append(f"This is a {findings.plan.timing.name} run: not publishable")
    return Answer(mix.name, " ".join(f"{sentence}." for sentence in sentences))


def _claim(findings: Findings, mix: Mix) -> str:
    """Say who wins; a mix that serves users is headed by their goodput, the progress of its other jobs beside."""
    if not findings.plan.sharing_modes:
        return "nothing can be compared: the plan has no sharing mode"
    users = dict.fromkeys(job.label for job in mix.jobs if job.serves_users)
    claims = [_goodput_claim(findings, mix, job) for job in users]
    if not mix.serves_only_users:
        claims.append(f"{'the other jobs: ' if users else ''}{_progress_claim(findings, mix)}")
    return "; ".join(claims)


def _goodput_claim(findings: Findings, mix: Mix, job: str) -> str:
    """Say which mode serves most users of a job in time, and how much of what they get alone that is."""
    rows = [row for row in findings.against_turns(mix, GOODPUT.name, job) if row.ratio is not None]
    usable = [row for row in rows if row.verdict != Verdict.FAILS_TOO_OFTEN]
    if not usable:
        known = [row.reason for row in findings.against_turns(mix, GOODPUT.name, job) if row.reason]
        return f"the goodput of {job} is not known ({known[0] if known else 'not measured'})"
    best, *others = usable
    rivals = _rivals(findings, mix, best, others)
    so_far = "so far " if best.verdict == Verdict.NOT_ENOUGH_DATA else ""
    parts = [f"{so_far}the users of {job} get most answers within the SLO from {best.mode}: {_kept(best)}"]
    if rivals:
        parts.append(rivals)
    elif others:
        parts.append(f"ahead of every other mode (next is {others[0].mode}, {bare(others[0].ratio or 0)})")
    return ", ".join([*parts, *_inflation(findings, mix, best.mode)])


def _kept(row: Contrast) -> str:
    """Say how much of the goodput alone a mode keeps, with interval and number of blocks."""
    value = f"{bare(row.value or 0)} {row.unit}, "
    return f"{value}{bare(row.ratio or 0)} times that of the job alone ({_certainty(row)})"


def _inflation(findings: Findings, mix: Mix, mode: str) -> Iterator[str]:
    row = next((row for row in findings.against_turns(mix, TAIL.name) if row.mode == mode), None)
    if row is not None and row.value is not None:
        yield f"the worst p99 of the mix is {bare(row.value)} times that alone"


def _progress_claim(findings: Findings, mix: Mix) -> str:
    known = [row for row in findings.against_turns(mix, findings.plan.primary[0]) if row.ratio is not None]
    rows = [row for row in known if not _barred(row)] or known
    verdicts = {row.verdict for row in rows}
    winners = [row for row in rows if row.verdict == Verdict.BETTER]
    if not rows:
        return "no sharing mode could be compared with taking turns"
    if winners:
        return _win(findings, mix, winners[0], known)
    if all(map(_barred, rows)):
        return f"no mode can win: {_effect(rows[0])}, but it fails too often"
    if verdicts == {Verdict.NOT_ENOUGH_DATA}:
        return f"there is not enough data ({rows[0].reason}); so far {_effect(rows[0])}"
    if verdicts == {Verdict.WORSE}:
        return f"taking turns does best: {_nearest(rows)}"
    return f"no sharing mode was shown to beat taking turns: {_nearest(rows)}"


def _barred(row: Contrast) -> bool:
    """Whether the mode fails in so many blocks that it cannot win."""
    return fails_too_often(row.failures, row.n_attempted)


def _nearest(rows: Sequence[Contrast]) -> str:
    """Say what the best of the modes that did not win does, and what data were lacking, if any."""
    best = rows[0]
    others = "the nearest sharing mode, " if len(rows) > 1 else ""
    lack = f", not enough data: {best.reason}" if best.verdict == Verdict.NOT_ENOUGH_DATA else ""
    return f"{_effect(best, f'{others}{best.mode},' if others else best.mode)}{lack}"


def _win(findings: Findings, mix: Mix, winner: Contrast, rows: Sequence[Contrast]) -> str:
    others = [row for row in rows if row.mode != winner.mode and not _barred(row)]
    rivals = _rivals(findings, mix, winner, others)
    parts = [_effect(winner)]
    if rivals:
        parts.append(f"{rivals}, so the winner is undecided")
    elif others:
        field = "every other mode" if len(others) == len(rows) - 1 else "every mode that fails less often"
        parts.append(f"it is ahead of {field} (next is {others[0].mode}, {bare(others[0].ratio or 0)})")
    return "; ".join([*parts, *_companions(findings, mix, winner.mode)])


def _rivals(findings: Findings, mix: Mix, best: Contrast, others: Sequence[Contrast]) -> str:
    """Name those that were not shown to be behind, in the blocks that both have; empty where all were."""
    modes = [best.mode, *(row.mode for row in others)]
    pairs = pairwise(findings.cells, mix.name, best.metric, modes, best.job)
    verdicts = {row.mode: pairs[best.mode, row.mode].verdict for row in others}
    ahead, behind = (
        [row for row in others if verdicts[row.mode] is each] for each in (Verdict.WORSE, Verdict.BETTER)
    )
    level = [row for row in others if row not in ahead and row not in behind]
    told = [f"it is behind {_named(ahead)} in the blocks that both have"] if ahead else []
    told += [f"{_named(level)} cannot be told apart from it"] if level else []
    return ", and ".join(told)


def _named(rows: Iterable[Contrast]) -> str:
    return _list(f"{row.mode} ({bare(row.ratio or 0)})" for row in rows)


def _effect(row: Contrast, subject: str = "") -> str:
    """Say what a mode does against taking turns, with interval and number of blocks."""
    text = with_limits(row.ratio or 0, row.ci_low, row.ci_high).partition(" [")[0]
    return f"{subject or row.mode} {_DOES[row.metric].format(ratio=text)} ({_certainty(row)})"


def _certainty(row: Contrast) -> str:
    limits = with_limits(row.ratio or 0, row.ci_low, row.ci_high).partition(" [")[2]
    interval = f"95 % CI {limits[:-1].replace(', ', ' to ')}" if limits else "no interval"
    blocks = "1 block" if row.n_blocks == 1 else f"{row.n_blocks} blocks"
    return f"{interval}, n = {blocks}"


def _companions(findings: Findings, mix: Mix, mode: str) -> Iterator[str]:
    """STP never stands alone: say what the winning mode costs the jobs, and whether it starves one."""
    blocks = findings.cells.of(mode, mix.name).values()
    starved = sum(cell.reading(SMALLEST.name).value == 0 for cell in blocks)
    if starved:
        yield f"but a job starved in {starved} of {len(blocks)} blocks, which throughput does not show"
    told = {
        ANTT: "jobs take {} times as long as alone (ANTT)",
        SMALLEST: "the slowest job keeps {} of its solo speed",
    }
    costs = []
    for metric, words in told.items():
        row = next((row for row in findings.against_turns(mix, metric.name) if row.mode == mode), None)
        if row is not None and row.value is not None and metric.name != findings.plan.primary[0]:
            costs.append(words.format(bare(row.value)))
    if costs:
        yield f"under {mode}, {' and '.join(costs)}"


def _mishaps(findings: Findings, mix: Mix) -> Iterator[str]:
    """Say which modes failed or were not measured, each with the first reason."""
    for mode in (mode.label for mode in findings.plan.sharing_modes):
        own = [r for r in findings.records if (r.role, r.mode_label, r.mix) == (Role.MIX, mode, mix.name)]
        tried = [record for record in own if record.status is not Status.SKIPPED]
        if not own:
            yield f"{mode} has not been measured"
        elif not tried:
            yield f"{mode} was skipped: {_short(own[0].reason)}"
        failed = [record for record in tried if record.status is Status.FAILED]
        if failed:
            cannot = ", so it cannot win" if fails_too_often(len(failed), len(tried)) else ""
            yield f"{mode} fails {_of_blocks(failed, tried)}{cannot} ({_short(failed[0].reason)})"
        first = [r for r in findings.first_times if (r.role, r.mode_label, r.mix) == (Role.MIX, mode, mix.name)]
        lost = [record for record in first if record.status is Status.FAILED]
        if lost:
            were = "were" if len(lost) > 1 else "was"
            repeated = f"{counted(len(lost), 'block')} that {were} then measured once more"
            yield f"{mode} failed {repeated} ({_short(lost[0].reason)})"
        invalid = [record for record in tried if record.status is Status.INVALID]
        if invalid:
            yield f"{mode} is invalid in {_of_blocks(invalid, tried)} ({_short(invalid[0].reason)})"


def _of_blocks(some: Sequence[TrialRecord], tried: Sequence[TrialRecord]) -> str:
    return f"{len(some)} of {counted(len(tried), 'block')}"


def _short(reason: str | None, length: int = 160) -> str:
    """Return the first line of a reason; the report's list of trials has all of it."""
    text = ((reason or "").strip().splitlines() or ["no reason recorded"])[0].rstrip(".")
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _list(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
