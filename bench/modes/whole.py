"""Exclusive and time-slicing: an ordinary GPU. Alone on it, a job is exclusive; several take time slices."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.errors import ModeUnavailable
from bench.modes.contract import Evidence, Grade, Grant, Identity, Mount
from bench.modes.gpu_mode import GpuMode
from bench.modes.helpers import Call
from bench.modes.journal import Journal
from bench.modes.observe import DeviceState
from bench.modes.proof import (
    PIPE_VARIABLE,
    Look,
    outside_mps,
    server_evidence,
    state_evidence,
    tenant_evidence,
)
from bench.modes.switch import Switch
from bench.plan.mode import Mode, TimeSlicing
from bench.plan.model import Mix


@dataclass
class WholeGpu(GpuMode):
    """No MIG, no MPS, compute mode Default."""

    mode: Mode
    switch: Switch
    evidence: tuple[Evidence, ...] = ()

    def undo(self, before: DeviceState) -> tuple[Call, ...]:
        """Return what puts back the state that was found."""
        return restore_whole(before, self.switch.allow_reset)

    def apply(self, before: DeviceState) -> None:
        """Make the GPU an ordinary one, unless it is one; set a time-slice policy, if one is asked for."""
        if not before.is_whole:
            make_whole(self.switch, before)
        if self._policy is not None:
            self._set_policy(self._policy, before)

    def verify(self) -> None:
        """Ask again what was changed, and note the policy, which nobody can ask for."""
        super().verify()
        self.evidence += () if self._policy is None else (_policy_evidence(self._policy),)

    @property
    def _policy(self) -> str | None:
        return self.mode.time_slice if isinstance(self.mode, TimeSlicing) else None

    def _set_policy(self, policy: str, before: DeviceState) -> None:
        """Set a time-slice policy; from now on, and unless it is refused, leaving puts the default back."""
        journal = Journal.of_visit(self.device)
        replace(journal, undo=restore_whole(before, self.switch.allow_reset, policy=True)).write(self.device)
        try:
            self.switch.run(Call("setup_time_slicing", ("--time-slice", policy)))
        except ModeUnavailable:
            journal.write(self.device)
            raise

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Give every job the whole device, and an empty pipe directory.

        The container toolkit mounts a host's default MPS directory unasked; a job that points to an empty one of
        ours cannot become an MPS client by accident.
        """
        empty = self.device.state_folder / "no-mps"
        empty.mkdir(parents=True, exist_ok=True)
        grant = Grant(self.device.uuid, {PIPE_VARIABLE: str(empty)}, (Mount(empty, read_only=True),))
        return (grant,) * len(mix.jobs)

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check that the device is still an ordinary one, and that each tenant sees it whole and no MPS daemon."""
        seen = self._look_at_tenants()
        return (
            *self._proof(seen),
            *tenant_evidence(self.device, grants, identities, seen.apps),
            *outside_mps(grants, identities),
        )

    def _proof(self, seen: Look) -> tuple[Evidence, ...]:
        return (*state_evidence(seen.state, "Default", "Disabled"), server_evidence(seen.apps))


def make_whole(switch: Switch, before: DeviceState) -> None:
    """Turn MIG off where it is on, and set compute mode Default."""
    if before.mig_mode == "Enabled":
        switch.run(Call("disable_mig", switch.reset_option))
    switch.run(Call("setup_time_slicing"))


def restore_whole(before: DeviceState, allow_reset: bool, policy: bool = False) -> tuple[Call, ...]:
    """Return the calls that put back compute mode and MIG mode, in the reverse order of `make_whole`.

    `policy` puts the default time-slice policy back as well. It and compute mode are changed with MIG off only, so
    MIG is turned off first: it is on again where an earlier attempt to put things back failed half-way.
    """
    reset = ("--allow-reset",) if allow_reset else ()
    options = ["--time-slice", "default"] if policy else []
    if before.compute_mode not in (None, "Default"):
        options += ["--compute-mode", before.compute_mode]
    calls = []
    if options:
        calls += [Call("disable_mig", reset)] if before.mig_mode == "Enabled" else []
        calls.append(Call("setup_time_slicing", tuple(options)))
    if before.mig_mode == "Enabled":
        calls.append(Call("setup_mig", reset))
    return tuple(calls)


def _policy_evidence(policy: str) -> Evidence:
    claim = "time-slice policy: the driver took it without an error, and no tool reads it back"
    return Evidence(claim, policy, None, Grade.REQUESTED_ONLY, holds=True)
