"""MPS with static SM partitions: each job has SMs of its own, which nobody else can use.

Percentages only cap; this is the one form of MPS that reserves. The daemon tells how many chunks there are and how
large one is, so no table of boards is needed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import ModeUnavailable
from bench.gpu.mps import SmPartitions
from bench.modes.contract import Evidence, Grade, Grant, Identity, Mount
from bench.modes.mps import ServedWholeGpu
from bench.modes.observe import DeviceState
from bench.modes.proof import PIPE_VARIABLE, Look, state_evidence
from bench.modes.switch import Switch
from bench.modes.whole import make_whole
from bench.plan.mode import MpsPartitions
from bench.plan.model import Mix

PARTITION_VARIABLE = "CUDA_MPS_SM_PARTITION"


@dataclass
class MpsPartitionsGpu(ServedWholeGpu):
    """An ordinary GPU whose SMs an MPS daemon of ours divides; it is started anew for a mix that needs it so."""

    mode: MpsPartitions
    switch: Switch
    evidence: tuple[Evidence, ...] = ()
    _chunks: tuple[int, ...] | None = None  # of each partition, in plan order; None where it is not known
    _ids: tuple[str, ...] = ()
    _listed: SmPartitions | None = None  # at the last look; None where no daemon answered

    def apply(self, before: DeviceState) -> None:
        """Make the GPU an ordinary one, then start the daemon; equal partitions follow when a mix is known."""
        if not before.is_whole:
            make_whole(self.switch, before)
        self._start(self.mode.chunks or ())

    def tenancy(self, mix: Mix) -> tuple[Grant, ...]:
        """Give each job its partition."""
        offered = self._listed or self.daemon.control.partitions()
        chunks = self.mode.chunks or _equal(len(mix.jobs), offered.chunks)
        if chunks != self._chunks:
            self._chunks = None  # not known until all is done
            self.switch.run(self.daemon.undo)
            self._start(chunks)
        pipe = self.daemon.pipe_directory
        return tuple(
            Grant(
                self.device.uuid,
                {PIPE_VARIABLE: str(pipe), PARTITION_VARIABLE: name},
                (Mount(pipe),),
                share=f"{size} chunks",
                sm_count=size * offered.chunk_sms,
            )
            for name, size in zip(self._ids, chunks, strict=True)
        )

    def confirm(self, grants: Sequence[Grant], identities: Sequence[Identity]) -> tuple[Evidence, ...]:
        """Check each tenant as under any MPS, that it sees its SMs, and that its partition has a client."""
        served = super().confirm(grants, identities)
        return (*served, *(_client_evidence(*pair, self._listed) for pair in zip(grants, identities, strict=True)))

    def _look(self, last: Look | None = None) -> Look:
        seen = super()._look(last)
        answers = self._answers[0].status is not None
        self._listed = self.daemon.control.partitions() if answers else None
        return seen

    def _proof(self, seen: Look) -> tuple[Evidence, ...]:
        state = state_evidence(seen.state, "Default", "Disabled")
        return (*state, *self._service(seen), self._size_evidence())

    def _start(self, chunks: tuple[int, ...]) -> None:
        result = self.daemon.start("--static-partitions", ",".join(map(str, chunks)) or "none")
        self._chunks, self._ids = chunks, tuple(filter(None, result["partitions"].split(",")))

    def _size_evidence(self) -> Evidence:
        wanted = sorted(self._chunks or ())
        there = None if self._listed is None else sorted(part.chunks for part in self._listed.partitions)
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
