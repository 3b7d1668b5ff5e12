"""Device models as data: what a board is, how it may be cut, and what it reads while idle and while busy.

Profile tables and engines: `nvidia-smi mig -lgip` of the board or of its smaller sibling; memory of the
A100-80GB instances from its XML query (19968 MiB for 1g.20gb) and a public `-lgip` table. H200: full captures of
driver 590; 1g.35gb and 4g.71gb, which those lack, by the table in NVIDIA/mig-parted issue 120. RTX PRO 6000:
`-lgip` and `-lgipp` of driver 610; its whole memory, power limit and idle readings by public tables of
`nvidia-smi`; its clocks, lowest power limit, busy readings and reserved memory are assumed.
"""

from __future__ import annotations

from .row import Row

SEVEN = (0, 1, 2, 3, 4, 5, 6)
QUARTERS = (0, 2, 4, 6)


class Profile(Row):
    """One GPU-instance profile, as `nvidia-smi mig -lgip` and `-lgipp` describe it."""

    id: int
    name: str
    compute_slices: int
    size: int
    starts: tuple[int, ...]
    max_instances: int
    sms: int
    memory_mib: int
    engines: tuple[int, int, int, int, int]
    """Decoders, encoders, copy engines, JPEG, optical flow."""


class Readings(Row):
    """What the sensors say in one steady condition."""

    temperature_c: int
    memory_temperature_c: int | None
    power_w: float
    sm_clock_mhz: int
    memory_clock_mhz: int


class Model(Row):
    """One board. `slots` is the number of memory slices that MIG cuts, 0 where there is no MIG."""

    key: str
    name: str
    compute_capability: str
    sms: int
    memory_mib: int
    reserved_mib: int
    power_limit_w: float
    power_min_w: float
    max_sm_clock_mhz: int
    max_memory_clock_mhz: int
    pcie_generation: int
    idle: Readings
    busy: Readings
    slots: int = 0
    mirrored: bool = False
    """Instance ids count from the upper half: A100 gives id 2 to 0:4, H100 gives id 2 to 4:4."""
    first_choices: tuple[int, ...] = ()
    """Instance ids that the driver hands out first when no placement is asked for."""
    profiles: tuple[Profile, ...] = ()

    @property
    def mig_capable(self) -> bool:
        """Whether the board can be cut at all."""
        return bool(self.profiles)

    @property
    def mig_needs_reset(self) -> bool:
        """Ampere resets the GPU when the MIG mode changes; Hopper and later do not."""
        return self.compute_capability.startswith("8.")

    @property
    def slice_sms(self) -> int:
        """SMs of one compute slice."""
        return self.profiles[0].sms

    def profile(self, wanted: str) -> Profile | None:
        """Find a profile by id (`9`), short name (`3g.40gb`) or full name (`MIG 3g.40gb`)."""
        name = wanted.removeprefix("MIG ")
        return next((p for p in self.profiles if name in {str(p.id), p.name}), None)

    def instance_id(self, size: int, start: int) -> int:
        """Return the GPU-instance id that a placement gets: ids number the nodes of the tree of halves."""
        place = start ^ (self.slots // 2) if self.mirrored and size < self.slots else start
        return self.slots // size - 1 + place // size


def _a100_profiles(names: tuple[str, ...], memory_mib: tuple[int, ...]) -> tuple[Profile, ...]:
    one, media, double, two, three, four, seven = zip(names, memory_mib, strict=True)
    return (
        Profile(19, one[0], 1, 1, SEVEN, 7, 14, one[1], (0, 0, 1, 0, 0)),
        Profile(20, media[0], 1, 1, SEVEN, 1, 14, media[1], (1, 0, 1, 1, 1)),
        Profile(15, double[0], 1, 2, QUARTERS, 4, 14, double[1], (1, 0, 1, 0, 0)),
        Profile(14, two[0], 2, 2, (0, 2, 4), 3, 28, two[1], (1, 0, 2, 0, 0)),
        Profile(9, three[0], 3, 4, (0, 4), 2, 42, three[1], (2, 0, 3, 0, 0)),
        Profile(5, four[0], 4, 4, (0,), 1, 56, four[1], (2, 0, 4, 0, 0)),
        Profile(0, seven[0], 7, 8, (0,), 1, 98, seven[1], (5, 0, 7, 1, 1)),
    )


A100_80GB = Model(
    "a100-80gb",
    "NVIDIA A100-SXM4-80GB",
    "8.0",
    sms=108,
    memory_mib=81920,
    reserved_mib=869,
    power_limit_w=400.0,
    power_min_w=100.0,
    max_sm_clock_mhz=1410,
    max_memory_clock_mhz=1593,
    pcie_generation=4,
    idle=Readings(27, 44, 67.03, 1410, 1593),
    busy=Readings(55, 66, 291.40, 1410, 1593),
    slots=8,
    mirrored=True,
    first_choices=(2, 13, 11, 12),
    profiles=_a100_profiles(
        ("1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"),
        (9728, 9728, 19968, 19968, 40192, 40192, 80896),
    ),
)

A100_40GB = Model(
    "a100-40gb",
    "NVIDIA A100-SXM4-40GB",
    "8.0",
    sms=108,
    memory_mib=40960,
    reserved_mib=504,
    power_limit_w=400.0,
    power_min_w=100.0,
    max_sm_clock_mhz=1410,
    max_memory_clock_mhz=1215,
    pcie_generation=4,
    idle=Readings(40, 41, 43.00, 1410, 1215),
    busy=Readings(55, 60, 282.10, 1410, 1215),
    slots=8,
    mirrored=True,
    first_choices=(2, 13, 11, 12),
    profiles=_a100_profiles(
        ("1g.5gb", "1g.5gb+me", "1g.10gb", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"),
        (4864, 4864, 9984, 9984, 20096, 20096, 40320),
    ),
)

H100_80GB = Model(
    "h100-80gb",
    "NVIDIA H100 80GB HBM3",
    "9.0",
    sms=132,
    memory_mib=81559,
    reserved_mib=479,
    power_limit_w=700.0,
    power_min_w=200.0,
    max_sm_clock_mhz=1980,
    max_memory_clock_mhz=2619,
    pcie_generation=5,
    idle=Readings(41, 48, 69.62, 345, 2619),
    busy=Readings(53, 59, 447.35, 1980, 2619),
    slots=8,
    first_choices=(2, 13, 11, 12),
    profiles=(
        Profile(19, "1g.10gb", 1, 1, SEVEN, 7, 16, 9984, (1, 0, 1, 1, 0)),
        Profile(20, "1g.10gb+me", 1, 1, SEVEN, 1, 16, 9984, (1, 0, 1, 1, 1)),
        Profile(15, "1g.20gb", 1, 2, QUARTERS, 4, 26, 20096, (1, 0, 1, 1, 0)),
        Profile(14, "2g.20gb", 2, 2, (0, 2, 4), 3, 32, 20096, (2, 0, 2, 2, 0)),
        Profile(9, "3g.40gb", 3, 4, (0, 4), 2, 60, 40448, (3, 0, 3, 3, 0)),
        Profile(5, "4g.40gb", 4, 4, (0,), 1, 64, 40448, (4, 0, 4, 4, 0)),
        Profile(0, "7g.80gb", 7, 8, (0,), 1, 132, 81152, (7, 0, 8, 7, 1)),
    ),
)

A30_24GB = Model(
    "a30-24gb",
    "NVIDIA A30",
    "8.0",
    sms=56,
    memory_mib=24576,
    reserved_mib=318,
    power_limit_w=165.0,
    power_min_w=100.0,
    max_sm_clock_mhz=1440,
    max_memory_clock_mhz=1215,
    pcie_generation=4,
    idle=Readings(47, 45, 32.00, 1440, 1215),
    busy=Readings(62, 64, 141.20, 1440, 1215),
    slots=4,
    first_choices=(2,),
    profiles=(
        Profile(14, "1g.6gb", 1, 1, (0, 1, 2, 3), 4, 14, 5952, (1, 0, 1, 0, 0)),
        Profile(21, "1g.6gb+me", 1, 1, (0, 1, 2, 3), 1, 14, 5952, (1, 0, 1, 1, 1)),
        Profile(5, "2g.12gb", 2, 2, (0, 2), 2, 28, 11968, (2, 0, 2, 0, 0)),
        Profile(6, "2g.12gb+me", 2, 2, (0, 2), 1, 28, 11968, (2, 0, 2, 1, 1)),
        Profile(0, "4g.24gb", 4, 4, (0,), 1, 56, 24000, (4, 0, 4, 1, 1)),
    ),
)

RTX_4090 = Model(
    "rtx-4090",
    "NVIDIA GeForce RTX 4090",
    "8.9",
    sms=128,
    memory_mib=24564,
    reserved_mib=434,
    power_limit_w=450.0,
    power_min_w=150.0,
    max_sm_clock_mhz=3105,
    max_memory_clock_mhz=10501,
    pcie_generation=4,
    idle=Readings(34, None, 21.60, 210, 405),
    busy=Readings(61, None, 348.70, 2745, 10251),
)

H200_141GB = Model(
    "h200-141gb",
    "NVIDIA H200",
    "9.0",
    sms=132,
    memory_mib=143771,
    reserved_mib=614,
    power_limit_w=700.0,
    power_min_w=200.0,
    max_sm_clock_mhz=1980,
    max_memory_clock_mhz=3201,
    pcie_generation=5,
    idle=Readings(28, 32, 78.21, 345, 3201),
    busy=Readings(52, 40, 626.26, 1980, 3201),
    slots=8,
    first_choices=(2, 13, 11, 12),
    profiles=(
        Profile(19, "1g.18gb", 1, 1, SEVEN, 7, 16, 16384, (1, 0, 1, 1, 0)),
        Profile(20, "1g.18gb+me", 1, 1, SEVEN, 1, 16, 16384, (1, 0, 1, 1, 1)),
        Profile(15, "1g.35gb", 1, 2, QUARTERS, 4, 26, 33280, (1, 0, 1, 1, 0)),
        Profile(14, "2g.35gb", 2, 2, (0, 2, 4), 3, 32, 33280, (2, 0, 2, 2, 0)),
        Profile(9, "3g.71gb", 3, 4, (0, 4), 2, 60, 71424, (3, 0, 3, 3, 0)),
        Profile(5, "4g.71gb", 4, 4, (0,), 1, 64, 71424, (4, 0, 4, 4, 0)),
        Profile(0, "7g.141gb", 7, 8, (0,), 1, 132, 143360, (7, 0, 8, 7, 1)),
    ),
)

_ONES, _HALVES = (0, 3, 6, 9), (0, 6)
RTX_PRO_6000 = Model(
    "rtx-pro-6000",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition",
    "12.0",
    sms=188,
    memory_mib=97887,
    reserved_mib=479,
    power_limit_w=600.0,
    power_min_w=300.0,
    max_sm_clock_mhz=2430,
    max_memory_clock_mhz=12481,
    pcie_generation=5,
    idle=Readings(27, None, 28.00, 180, 405),
    busy=Readings(61, None, 540.00, 2280, 12481),
    slots=12,
    profiles=(
        Profile(14, "1g.24gb", 1, 3, _ONES, 4, 46, 24192, (1, 1, 1, 1, 0)),
        Profile(21, "1g.24gb+me", 1, 3, _ONES, 1, 46, 24192, (1, 1, 1, 1, 1)),
        Profile(47, "1g.24gb+gfx", 1, 3, _ONES, 4, 46, 24192, (1, 1, 1, 1, 0)),
        Profile(65, "1g.24gb+me.all", 1, 3, _ONES, 1, 46, 24192, (4, 4, 1, 4, 1)),
        Profile(67, "1g.24gb-me", 1, 3, _ONES, 4, 46, 24192, (0, 0, 1, 0, 0)),
        Profile(5, "2g.48gb", 2, 6, _HALVES, 2, 94, 48512, (2, 2, 2, 2, 0)),
        Profile(35, "2g.48gb+gfx", 2, 6, _HALVES, 2, 94, 48512, (2, 2, 2, 2, 0)),
        Profile(64, "2g.48gb+me.all", 2, 6, _HALVES, 1, 94, 48512, (4, 4, 2, 4, 1)),
        Profile(66, "2g.48gb-me", 2, 6, _HALVES, 2, 94, 48512, (0, 0, 2, 0, 0)),
        Profile(0, "4g.96gb", 4, 12, (0,), 1, 188, 97408, (4, 4, 4, 4, 1)),
        Profile(32, "4g.96gb+gfx", 4, 12, (0,), 1, 188, 97408, (4, 4, 4, 4, 1)),
    ),
)

BOARDS = (A100_80GB, A100_40GB, H100_80GB, H200_141GB, A30_24GB, RTX_4090, RTX_PRO_6000)
MODELS = {model.key: model for model in BOARDS}
