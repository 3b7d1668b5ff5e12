"""The sampler's simulated twin: the same CSV lines to the same parser, in virtual time, without a process.

Power is idle + (limit - idle) * share of SMs at work; utilisation is the share of time with any kernel running.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd

from bench.simulator.board import Board, Span
from bench.simulator.driver.query import Format, gpu_header, gpu_row
from bench.simulator.driver.state import DriverState
from bench.telemetry.contract import Telemetry
from bench.telemetry.parse import SAMPLED_FIELDS, Line, parse_stream

PERIOD_S = 1.0  # utilisation of an A100 moves about once a second
POWER_NOISE_W = 2.0  # assumed
_FIELDS = list(SAMPLED_FIELDS)
_FORM = Format(header=False, units=False)


class SimulatedSampler:
    """Watches a simulated board."""

    def __init__(self, board: Board) -> None:
        self._board = board

    @contextmanager
    def watch(self) -> Iterator["SimulatedWatch"]:
        """Watch one trial; virtual time begins anew with it."""
        self._board.clock.restart()
        self._board.spans.clear()
        watch = SimulatedWatch(self._board)
        try:
            yield watch
        finally:
            watch.to_s = self._board.clock.monotonic_s()


class SimulatedWatch:
    """A watch on a simulated board."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self.to_s = 0.0

    def result(self) -> Telemetry:
        """Return what the driver's tools would have shown."""
        state = self._board.state
        spans = _without_gaps(self._board.spans, self.to_s, state)
        header: Line = (0.0, gpu_header(_FIELDS))
        telemetry = parse_stream([header, *(line for span in spans for line in _lines(span))], PERIOD_S)
        telemetry.energy = _energy(spans)
        return telemetry


def _without_gaps(spans: list[Span], to_s: float, state: DriverState) -> list[Span]:
    """Fill the time in which no co-run was going on with an idle device."""
    whole, now_s = [], 0.0
    for span in [*spans, Span(to_s, to_s, 0.0, 0.0, state)]:
        if span.from_s > now_s:
            whole.append(Span(now_s, span.from_s, 0.0, 0.0, state.without_clients()))
        if span.to_s > span.from_s:
            whole.append(span)
        now_s = span.to_s
    return whole


def _mean_power_w(span: Span) -> float:
    model = span.state.model
    return model.idle.power_w + (model.power_limit_w - model.idle.power_w) * span.sm_activity


def _lines(span: Span) -> Iterator[Line]:
    """Yield one row a period; power and utilisation come from the law, the rest from the driver's state."""
    cells = dict(zip(_FIELDS, gpu_row(span.state, _FIELDS, _FORM).rstrip("\n").split(", "), strict=True))
    stamps_s = np.arange(np.ceil(span.from_s), span.to_s, PERIOD_S)
    noise_w = np.random.default_rng(round(span.to_s * 1e3)).normal(0, POWER_NOISE_W, len(stamps_s))
    if not span.state.mig_enabled:
        cells["utilization.gpu"] = str(round(100 * span.busy))
    for stamp_s, power_w in zip(stamps_s, _mean_power_w(span) + noise_w, strict=True):
        cells["power.draw.instant"] = f"{power_w:.2f}"
        yield float(stamp_s), ", ".join(cells.values())


def _energy(spans: list[Span]) -> pd.DataFrame:
    """Return the cumulative counter at the edges of the spans; between them power is constant."""
    time_s = [0.0, *(span.to_s for span in spans)]
    joules = [_mean_power_w(span) * (span.to_s - span.from_s) for span in spans]
    return pd.DataFrame({"time_s": time_s, "energy_j": np.concatenate([[0.0], np.cumsum(joules)])})
