"""MPS with static SM partitions: each job has SMs of its own, which nobody else can use.

Percentages only cap; this is the one form of MPS that reserves. The daemon tells how many chunks there are and how
large one is, so no table of boards is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.errors import ModeUnavailable
from bench.gpu.device import Device
from bench.gpu.mps import SmPartitions
from bench.modes.contract import Evidence, Grade, Grant, Identity
from bench.modes.helpers import Call
from bench.modes.mps import MpsGpu
from bench.modes.observe import DeviceState
from bench.modes.switch import Switch
from bench.modes.whole import make_whole
from bench.plan.mode import Mps, MpsPartitions
from bench.plan.model import Mix

PARTITION_VARIABLE = "CUDA_MPS_SM_PARTITION"


@dataclass
class MpsPartitionsGpu:
    """An ordinary GPU whose SMs an MPS daemon of ours divides; it is started anew for a mix that needs it so."""

    mode: MpsPartitions
    switch: Switch
    evidence: tuple[Evidence, ...] = ()
    _chunks: tuple[int, ...] | None = None  # of each partition, in plan order; None where it is not known
    _ids: tuple[str, ...] = ()
    _offered: SmPartitions | None = None  # of which only the sizes are kept: constants of the board

    def __post_init__(self) -> None:
        self._mps = MpsGpu(Mps(), self.switch)

    @property
    def device(self) -> Device:
        """The device this mode is for."""
        return self.switch.device

    def undo(self, before: DeviceState) -> tuple[Call, ...]:
        """Return what stops our daemon, whose partitions end with it, and puts back the state that was found."""
        return self._mps.undo(before)

    def apply(self, before: DeviceState) -> None:
        """Make the GPU an ordinary one, then start the daemon; equal partitions follow when a mix is known."""
        if not before.is_whole:
            make_whole(self.switch, before)
        self._start(self.mode.chunks or ())

    def verify(self) -> None:
        """Ask device and daemon again."""
        self.evidence = self.inspect()

    def inspect(self) -> tuple[Evidence, ...]:
        """Check what must hold with or without tenants: our daemon, with just our partitions."""
        return (*self._mps.inspect(), self._size_evidence(self._listed()))

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Give each job its partition."""
        self._offered = offered = self._offered or self._mps.daemon.control.partitions()
        chunks = self.mode.chunks or _equal(len(mix.jobs), offered.chunks)
        if chunks != self._chunks:
            self._chunks = None  # not known until all is done
            self.switch.run(self._mps.daemon.undo)
            self._start(chunks)
        shared = self._mps.tenancy(mix)
        return tuple(
            replace(
                grant,
                environment={**grant.environment, PARTITION_VARIABLE: name},
                share=f"{size} chunks",
                sm_count=size * offered.chunk_sms,
            )
            for grant, name, size in zip(shared, self._ids, chunks, strict=True)
        )

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check each tenant as under any MPS, that it sees its SMs, and that its partition has a client."""
        listed = self._listed()
        return (
            *self._mps.confirm(grants, identities),
            self._size_evidence(listed),
            *(_client_evidence(*pair, listed) for pair in zip(grants, identities, strict=True)),
        )

    def _start(self, chunks: tuple[int, ...]) -> None:
        result = self._mps.daemon.start("--static-partitions", ",".join(map(str, chunks)) or "none")
        self._chunks, self._ids = chunks, tuple(filter(None, result["partitions"].split(",")))

    def _listed(self) -> SmPartitions | None:
        control = self._mps.daemon.control
        return control.partitions() if control.is_alive() else None

    def _size_evidence(self, listed: SmPartitions | None) -> Evidence:
        wanted = sorted(self._chunks or ())
        there = None if listed is None else sorted(part.chunks for part in listed.partitions)
        return Evidence("SM partitions, in chunks", wanted, there, Grade.READ_BACK, there == wanted)


def _client_evidence(grant: Grant, seen: Identity, listed: SmPartitions | None) -> Evidence:
    name = grant.environment[PARTITION_VARIABLE].partition("/")[2]
    used = next((part.has_clients for part in listed.partitions if part.id == name), None) if listed else None
    claim = f"the partition of {seen.tenant} has a client, by the daemon's list of partitions"
    return Evidence(claim, True, used, Grade.READ_BACK, used is True)


def _equal(tenants: int, chunks: int) -> tuple[int, ...]:
    if chunks < tenants:
        raise ModeUnavailable(f"{tenants} tenants need {tenants} chunks of SMs; this GPU has {chunks}")
    return (chunks // tenants,) * tenants
