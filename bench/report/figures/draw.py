"""All figures of a report, drawn and saved."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from bench.analysis.summary import Comparison
from bench.report.figures.components import draw_components
from bench.report.figures.drift import draw_drift
from bench.report.figures.interference import draw_interference
from bench.report.figures.latency import draw_latency
from bench.report.figures.load import draw_load
from bench.report.figures.modes import draw_forest, draw_progress, draw_stp, draw_throughput
from bench.report.figures.ranks import draw_ranks
from bench.report.figures.scaling import draw_scaling
from bench.report.figures.style import Drawing, Hover, apply_style, close_all, looks, mark, save
from bench.report.figures.switching import draw_switching
from bench.report.figures.timeline import draw_timeline
from bench.report.figures.tradeoffs import draw_tradeoffs
from bench.report.labels import watermark
from bench.report.refusals import refuse_unmarked
from bench.store.run_folder import RunFolder


def draw_all(comparison: Comparison, run: RunFolder, folder: Path) -> dict[str, tuple[Drawing, Path]]:
    """Draw every figure that the data allow; return each by name with the path of its PNG."""
    apply_style()
    drawings = list(_drawings(comparison, run))
    for drawing in drawings:
        mark(drawing.figure, watermark(comparison))
    refuse_unmarked(drawings, watermark(comparison))
    hovers = _save_all(drawings, folder)
    close_all()
    return {
        drawing.name: (replace(drawing, hovers=hovers[drawing.name]), folder / f"{drawing.name}.png")
        for drawing in drawings
    }


_Hovers = dict[str, tuple[Hover, ...]]


def _save_all(drawings: Sequence[Drawing], folder: Path) -> _Hovers:
    """Save half of the figures in a second process, which has them all at its start."""
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    other = context.Process(target=_send, args=(sender, drawings[1::2], folder))
    other.start()
    sender.close()
    own = _save(drawings[::2], folder)
    try:
        theirs: _Hovers = receiver.recv()
    except EOFError:
        theirs = _save(drawings[1::2], folder)  # here a failure can be told
    other.join()
    return own | theirs


def _send(sender: Connection, drawings: Sequence[Drawing], folder: Path) -> None:
    sender.send(_save(drawings, folder))


def _save(drawings: Sequence[Drawing], folder: Path) -> _Hovers:
    return {drawing.name: save(drawing, folder) for drawing in drawings}


def _drawings(comparison: Comparison, run: RunFolder) -> Iterator[Drawing]:
    look = looks([mode.label for mode in comparison.plan.sharing_modes])
    if comparison.contrasts:
        yield draw_forest(comparison, look)
    if comparison.cells:
        closed = any(mix.turns for mix in comparison.plan.mixes)
        of_progress = (draw_stp, draw_progress) if closed else ()
        for draw in (*of_progress, draw_throughput, draw_latency):
            yield draw(comparison, look)
    yield from (*draw_tradeoffs(comparison, look), *draw_interference(comparison), *draw_ranks(comparison, look))
    if comparison.series:
        yield draw_scaling(comparison, look)
    of_trials = (
        draw_load(comparison, run, look),
        draw_timeline(comparison, run, look),
        draw_drift(comparison, look),
        draw_components(comparison.components) if comparison.components else None,
    )
    yield from filter(None, of_trials)
    if comparison.switching:
        yield draw_switching(comparison, look)
