"""MIG: the GPU cut into instances of its own memory and SMs, one for each job of a mix."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.modes.contract import Evidence, Grant, Identity, Mount
from bench.modes.gpu_mode import GpuMode
from bench.modes.helpers import Call
from bench.modes.mig_cut import MigCut
from bench.modes.observe import DeviceState
from bench.modes.proof import (
    PIPE_VARIABLE,
    PROBE_VARIABLE,
    Look,
    outside_mps,
    server_evidence,
    tenant_evidence,
)
from bench.modes.switch import Switch
from bench.plan.mode import Mig
from bench.plan.model import Mix


@dataclass
class MigGpu(GpuMode):
    """A GPU in MIG mode; instances are cut anew for each mix that needs other ones."""

    mode: Mig
    switch: Switch
    evidence: tuple[Evidence, ...] = ()

    def __post_init__(self) -> None:
        self._cut = MigCut(self.switch)

    def undo(self, before: DeviceState) -> tuple[Call, ...]:
        """Return what destroys our instances and puts back the state that was found."""
        return self._cut.undo(before)

    def apply(self, before: DeviceState) -> None:
        """Turn MIG mode on; instances follow when a mix is known."""
        self._cut.turn_on(before)

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Cut the GPU for this mix, unless it is so already, and give each job its instance."""
        self._cut.make(self._cut.planned(self.mode, len(mix.jobs)))
        empty = self.device.state_folder / "no-mps"
        empty.mkdir(parents=True, exist_ok=True)
        outside = {PIPE_VARIABLE: str(empty), PROBE_VARIABLE: "1"}
        mounts = (Mount(empty, read_only=True),)
        return tuple(
            replace(grant, environment=outside, mounts=mounts, memory_limit_mib=grant.memory_mib)
            for grant in self._cut.grants()
        )

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check that just our instances are there, and that each tenant sees its own, of the right size."""
        seen = self._look_at_tenants()
        return (
            *self._proof(seen),
            *tenant_evidence(self.device, grants, identities, seen.apps),
            *outside_mps(grants, identities),
        )

    def _proof(self, seen: Look) -> tuple[Evidence, ...]:
        return (*self._cut.evidence(seen.state), server_evidence(seen.apps))
