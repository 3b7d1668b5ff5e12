"""MIG: the GPU cut into instances of its own memory and SMs, one for each job of a mix."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from bench.gpu.device import Device
from bench.gpu.mig_tables import MigPlacements, MigProfile
from bench.gpu.smi import NvidiaSmi
from bench.modes.contract import Evidence, Grade, Grant, Identity, Mount
from bench.modes.helpers import Call
from bench.modes.mig_layout import Placed, plan_layout
from bench.modes.observe import DeviceState, observe
from bench.modes.proof import state_evidence, tenant_evidence
from bench.modes.switch import Switch
from bench.modes.whole import PIPE_VARIABLE, make_whole, restore_whole
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
class MigGpu:
    """A GPU in MIG mode; instances are cut anew for each mix that needs other ones."""

    mode: Mig
    switch: Switch
    evidence: tuple[Evidence, ...] = ()
    _layout: tuple[Placed, ...] = ()
    _instances: tuple[_Instance, ...] = ()

    @property
    def device(self) -> Device:
        """The device this mode is for."""
        return self.switch.device

    def undo(self, before: DeviceState) -> tuple[Call, ...]:
        """Return what destroys all instances, which can only be ours, and puts back the state that was found."""
        if before.mig_mode == "Enabled" and before.compute_mode == "Default":
            return (Call("disable_mig", ("--keep-mode",)),)
        off = Call("disable_mig", self.switch.reset_option)
        return (off, *restore_whole(before, self.switch.allow_reset))

    def apply(self, before: DeviceState) -> None:
        """Turn MIG mode on, with compute mode Default, which is changed with MIG off only; instances follow."""
        if before.compute_mode != "Default":
            make_whole(self.switch, before)
        self.switch.run(Call("setup_mig", self.switch.reset_option))

    def verify(self) -> None:
        """Ask the device again."""
        self.evidence = state_evidence(observe(self.device), "Default", "Enabled")

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Cut the GPU for this mix, unless it is so already, and give each job its instance."""
        layout = plan_layout(self.mode, len(mix.jobs), *_offered(self.device))
        if layout != self._layout:
            self._cut(layout)
        empty = self.device.state_folder / "no-mps"
        empty.mkdir(parents=True, exist_ok=True)
        shared = {PIPE_VARIABLE: str(empty)}, (Mount(empty, read_only=True),)
        return tuple(
            Grant(instance.uuid, *shared, share=instance.profile, sm_count=placed.profile.sm_count)
            for instance, placed in zip(self._instances, layout, strict=True)
        )

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check that each tenant sees its own instance, of the right size."""
        return (*self._layout_evidence(), *tenant_evidence(self.device, grants, identities))

    def _layout_evidence(self) -> tuple[Evidence, ...]:
        """Return what the helper read back after it had cut the device for this mix."""
        wanted = [f"{placed.profile.name} at {placed.start}" for placed in self._layout]
        made = [f"{instance.profile} at {instance.start}" for instance in self._instances]
        return (Evidence("MIG instances, by their start slot", wanted, made, Grade.READ_BACK, made == wanted),)

    def _cut(self, layout: tuple[Placed, ...]) -> None:
        self._layout = ()  # unknown until all is done
        ours = ",".join(str(instance.number) for instance in self._instances)
        wanted = ",".join(f"{placed.profile.id}:{placed.start}" for placed in layout)
        options = ("--layout", wanted, *(("--replace", ours) if ours else ()), *self.switch.reset_option)
        made = self.switch.run(Call("setup_mig", options))["instances"]
        self._instances = tuple(_instance(text) for text in made.split(","))
        self._layout = layout


@cache
def _offered(device: Device) -> tuple[list[MigProfile], dict[int, MigPlacements]]:
    """Ask which profiles the board has and where they can lie; a constant of the board, told only in MIG mode."""
    smi = NvidiaSmi(device.tool_environment)
    return smi.mig_profiles(device.uuid), smi.mig_placements(device.uuid)


def _instance(text: str) -> _Instance:
    """Read `UUID/GI/CI/PROFILE/START` as setup_mig.sh prints it."""
    uuid, number, _, profile, start = text.split("/")
    return _Instance(uuid, int(number), profile, int(start))
