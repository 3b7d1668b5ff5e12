"""MPS inside MIG: the GPU cut into instances, with an MPS daemon of ours in each, and jobs dealt to them in turn.

A daemon holds its instance, so daemons are stopped before instances are destroyed; which ones there are is in the
journal before the first is started.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.modes.contract import Evidence, Grant, Mount
from bench.modes.helpers import Call
from bench.modes.journal import Journal
from bench.modes.mig_cut import MigCut
from bench.modes.mig_layout import Placed
from bench.modes.mps_daemon import MpsDaemon, ServedGpu, daemons_left, stop_of
from bench.modes.observe import DeviceState
from bench.modes.proof import PIPE_VARIABLE, Look
from bench.modes.switch import Switch
from bench.plan.mode import MigMps
from bench.plan.model import Mix


@dataclass
class MigMpsGpu(ServedGpu):
    """A GPU in MIG mode whose instances are each served by an MPS daemon of our own."""

    mode: MigMps
    switch: Switch
    evidence: tuple[Evidence, ...] = ()
    _daemons: tuple[MpsDaemon, ...] = ()  # one for each instance; none where that is not known

    def __post_init__(self) -> None:
        self._cut = MigCut(self.switch)

    @property
    def daemons(self) -> Sequence[MpsDaemon]:
        """Our daemons, one in each instance."""
        return self._daemons

    def undo(self, before: DeviceState) -> tuple[Call, ...]:
        """Return what destroys our instances and puts back the state that was found; daemons come on top later."""
        return self._cut.undo(before)

    def apply(self, before: DeviceState) -> None:
        """Turn MIG mode on; instances and daemons follow when a mix is known."""
        self._cut.turn_on(before)

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Cut the GPU and start daemons for this mix, unless it is so already, and deal out its jobs."""
        layout = self._cut.planned(self.mode, len(mix.jobs))
        if layout != self._cut.layout or not self._daemons:
            self._serve(layout)
        pipes = [daemon.pipe_directory for daemon in self._daemons]
        served = [
            replace(grant, environment={PIPE_VARIABLE: str(pipe)}, mounts=(Mount(pipe),))
            for grant, pipe in zip(self._cut.grants(), pipes, strict=True)
        ]
        return tuple(served[slot % len(served)] for slot in range(len(mix.jobs)))

    def _proof(self, seen: Look) -> tuple[Evidence, ...]:
        return (*self._cut.evidence(seen.state), *self._service(seen))

    def _serve(self, layout: tuple[Placed, ...]) -> None:
        """Make these instances, each with a daemon."""
        self._daemons = ()  # not known until all is done
        for pipe in daemons_left(self.device):
            self.switch.run(stop_of(pipe))
        self._cut.make(layout)
        daemons = tuple(MpsDaemon(self.switch, number) for number in range(len(layout)))
        Journal.of_visit(self.device).undo_first(self.device, [daemon.undo for daemon in daemons])
        for daemon, grant in zip(daemons, self._cut.grants(), strict=True):
            daemon.start("--mig-device", str(grant.device_id))
        self._daemons = daemons
