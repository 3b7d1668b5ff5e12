"""MIG: the GPU cut into instances of its own memory and SMs, one for each job of a mix."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from bench.errors import BenchError, DeviceError
from bench.gpu.device import Device
from bench.gpu.mig_tables import MigPlacements, MigProfile
from bench.gpu.smi import NvidiaSmi
from bench.modes.contract import Evidence, Grade, Grant, Identity, Mount
from bench.modes.gpu_mode import GpuMode
from bench.modes.helpers import Call
from bench.modes.journal import Claim, Journal
from bench.modes.mig_layout import Placed, plan_layout
from bench.modes.observe import DeviceState, observe
from bench.modes.proof import (
    PIPE_VARIABLE,
    Look,
    outside_mps,
    server_evidence,
    state_evidence,
    tenant_evidence,
)
from bench.modes.switch import Switch
from bench.modes.whole import make_whole, restore_whole
from bench.plan.mode import Mig
from bench.plan.model import Mix


@dataclass(frozen=True)
class _Instance:
    """One instance that we made."""

    uuid: str
    number: int
    profile: str
    start: int


@dataclass
class MigGpu(GpuMode):
    """A GPU in MIG mode; instances are cut anew for each mix that needs other ones."""

    mode: Mig
    switch: Switch
    evidence: tuple[Evidence, ...] = ()
    _layout: tuple[Placed, ...] = ()
    _instances: tuple[_Instance, ...] = ()

    def undo(self, before: DeviceState) -> tuple[Call, ...]:
        """Return what destroys our instances, which the journal names, and puts back the state that was found."""
        if before.mig_mode == "Enabled" and before.compute_mode == "Default":
            return (Call("disable_mig", ("--keep-mode",)),)
        off, whole = Call("disable_mig", self.switch.reset_option), restore_whole(before, self.switch.allow_reset)
        return whole if off in whole else (off, *whole)

    def apply(self, before: DeviceState) -> None:
        """Turn MIG mode on, with compute mode Default, which is changed with MIG off only; instances follow."""
        if before.compute_mode != "Default":
            make_whole(self.switch, before)
        self.switch.run(Call("setup_mig", self.switch.reset_option))

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Cut the GPU for this mix, unless it is so already, and give each job its instance."""
        layout = plan_layout(self.mode, len(mix.jobs), *_offered(self.device))
        if layout != self._layout:
            self._cut(layout)
        empty = self.device.state_folder / "no-mps"
        empty.mkdir(parents=True, exist_ok=True)
        shared = {PIPE_VARIABLE: str(empty)}, (Mount(empty, read_only=True),)
        return tuple(
            Grant(
                instance.uuid,
                *shared,
                share=instance.profile,
                sm_count=placed.profile.sm_count,
                memory_mib=round(placed.profile.memory_gib * 1024),
            )
            for instance, placed in zip(self._instances, layout, strict=True)
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
        state = state_evidence(seen.state, "Default", "Enabled")
        return (*state, self._layout_evidence(seen.state), server_evidence(seen.apps))

    def _layout_evidence(self, state: DeviceState) -> Evidence:
        """Compare what lies on the device now with what was cut for this mix: nobody else's may be there."""
        wanted = sorted((placed.start, placed.profile.name) for placed in self._layout)
        there = sorted((start, profile) for profile, _, start in state.instances)
        return Evidence("MIG instances, by their start slot", _named(wanted), _named(there), Grade.READ_BACK,
                        there == wanted)  # fmt: skip

    def _cut(self, layout: tuple[Placed, ...]) -> None:
        """Make these instances instead of the last mix's; the journal says at any moment which are ours."""
        self._layout = ()  # unknown until all is done
        journal = Journal.of_visit(self.device)
        _refuse_others(journal, self.device)
        wanted = [Claim(placed.profile.name, placed.start) for placed in layout]
        journal.claim(self.device, [*journal.claims, *wanted])
        try:
            self._replace(journal.claims, layout)
        except BenchError:
            self._claim_what_is_there()
            raise
        journal.claim(self.device, [Claim(made.profile, made.start, made.number) for made in self._instances])
        self._layout = layout

    def _replace(self, claims: Sequence[Claim], layout: tuple[Placed, ...]) -> None:
        ours = ",".join(str(claim.number) for claim in claims if claim.number is not None)
        wanted = ",".join(f"{placed.profile.id}:{placed.start}" for placed in layout)
        options = ("--layout", wanted, *(("--replace", ours) if ours else ()), *self.switch.reset_option)
        made = self.switch.run(Call("setup_mig", options))["instances"]
        self._instances = tuple(_instance(text) for text in made.split(","))

    def _claim_what_is_there(self) -> None:
        """After a cut that failed, claim by their ids those of the claimed instances that are there."""
        journal = Journal.of_visit(self.device)
        there = [instance for instance in observe(self.device).instances if journal.owns(instance)]
        journal.claim(self.device, [Claim(profile, start, number) for profile, number, start in there])


def _refuse_others(journal: Journal, device: Device) -> None:
    """Raise DeviceError where somebody made instances since the mode was entered: jobs would not be alone."""
    others = [instance for instance in observe(device).instances if not journal.owns(instance)]
    if others:
        names = ", ".join(f"{profile} (GPU instance {number})" for profile, number, _ in others)
        raise DeviceError(
            f"{device.uuid}: somebody else made MIG instances while mode {journal.mode} was on: {names}; "
            "have whoever made them destroy them, then repeat"
        )


def _named(places: Sequence[tuple[int, str]]) -> list[str]:
    return [f"{profile} at {start}" for start, profile in places]


@cache
def _offered(device: Device) -> tuple[list[MigProfile], dict[int, MigPlacements]]:
    """Ask which profiles the board has and where they can lie; a constant of the board, told only in MIG mode."""
    smi = NvidiaSmi(device.tool_environment)
    return smi.mig_profiles(device.uuid), smi.mig_placements(device.uuid)


def _instance(text: str) -> _Instance:
    """Read `UUID/GI/CI/PROFILE/START` as setup_mig.sh prints it."""
    uuid, number, _, profile, start = text.split("/")
    return _Instance(uuid, int(number), profile, int(start))
