"""MPS inside MIG: the GPU cut into instances, with an MPS daemon of ours in each, and jobs dealt to them in turn.

A daemon holds its instance, so daemons are stopped before instances are destroyed; which ones there are is in the
journal before the first is started.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.gpu.device import Device
from bench.gpu.smi import ComputeApp
from bench.modes.contract import Evidence, Grant, Identity, Mount
from bench.modes.helpers import Call
from bench.modes.journal import Journal
from bench.modes.mig_cut import MigCut
from bench.modes.mig_layout import Placed
from bench.modes.mps_daemon import DaemonAnswer, MpsDaemon, ask_all, daemons_left, stop_of
from bench.modes.observe import DeviceState
from bench.modes.proof import PIPE_VARIABLE, server_evidence, tenant_evidence
from bench.modes.switch import Switch
from bench.plan.mode import MigMps
from bench.plan.model import Mix


@dataclass
class MigMpsGpu:
    """A GPU in MIG mode whose instances are each served by an MPS daemon of our own."""

    mode: MigMps
    switch: Switch
    evidence: tuple[Evidence, ...] = ()
    _daemons: tuple[MpsDaemon, ...] = ()  # one for each instance; none where that is not known

    def __post_init__(self) -> None:
        self._cut = MigCut(self.switch)

    @property
    def device(self) -> Device:
        """The device this mode is for."""
        return self.switch.device

    def undo(self, before: DeviceState) -> tuple[Call, ...]:
        """Return what destroys our instances and puts back the state that was found; daemons come on top later."""
        return self._cut.undo(before)

    def apply(self, before: DeviceState) -> None:
        """Turn MIG mode on; instances and daemons follow when a mix is known."""
        self._cut.turn_on(before)

    def verify(self) -> None:
        """Ask device and daemons again."""
        self.evidence = self.inspect()

    def inspect(self) -> tuple[Evidence, ...]:
        """Check what must hold with or without tenants: just our instances and daemons, nobody else's server."""
        return self._device_evidence(*ask_all(self.device, self._daemons))

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Cut the GPU and start daemons for this mix, unless it is so already, and deal out its jobs."""
        layout = self._cut.planned(self.mode, len(mix.jobs))
        if layout != self._cut.layout or not self._daemons:
            self._serve(layout)
        served = [
            replace(grant, environment={PIPE_VARIABLE: str(pipe)}, mounts=(Mount(pipe),))
            for grant, pipe in zip(self._cut.grants(), self._pipes, strict=True)
        ]
        return tuple(served[slot % len(served)] for slot in range(len(mix.jobs)))

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check that each tenant sees its instance, of the right size, and is a client of the daemon inside."""
        answers, state, apps = ask_all(self.device, self._daemons)
        inside = [
            evidence
            for daemon, pipe, answer in zip(self._daemons, self._pipes, answers, strict=True)
            for grant, seen in zip(grants, identities, strict=True)
            if grant.environment[PIPE_VARIABLE] == str(pipe)
            for evidence in daemon.membership(seen, answer, apps)
        ]
        return (
            *self._device_evidence(answers, state, apps),
            *tenant_evidence(self.device, grants, identities, apps),
            *inside,
        )

    @property
    def _pipes(self) -> list[Path]:
        return [daemon.pipe_directory for daemon in self._daemons]

    def _device_evidence(
        self, answers: Sequence[DaemonAnswer], state: DeviceState, apps: Sequence[ComputeApp]
    ) -> tuple[Evidence, ...]:
        servers = [server for answer in answers for server in answer.servers]
        health = (daemon.health(answer) for daemon, answer in zip(self._daemons, answers, strict=True))
        return (*self._cut.evidence(state), server_evidence(apps, servers), *health)

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
