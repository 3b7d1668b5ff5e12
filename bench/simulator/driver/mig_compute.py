"""`nvidia-smi mig -lcip`: which compute instances a GPU instance can hold."""

from .arguments import Answer
from .mig_tables import Selection, compute_name, compute_profile_id, compute_sizes, in_table_order
from .models import Profile
from .state import DriverState, GpuInstance

OK, NOT_FOUND = 0, 6
RULE = "+" + "-" * 86 + "+\n"
TITLE = (
    "| Compute instance profiles:                                                           |\n"
    "| GPU     GPU       Name             Profile  Instances   Exclusive       Shared       |\n"
    "|       Instance                       ID     Free/Total     SM       DEC   ENC   OFA  |\n"
    "|         ID                                                          CE    JPEG       |\n"
    "|======================================================================================|\n"
)


def list_compute_profiles(state: DriverState, selection: Selection) -> Answer:
    """Answer `mig -lcip`; the profile that fills the instance has a star."""
    chosen = [gi for gi in in_table_order(state) if selection.holds(gi)]
    if not chosen:
        return "No GPU instances found: Not Found\n", NOT_FOUND
    rows = [_rows(state, gi, slices) + RULE for gi in chosen for slices in compute_sizes(state.profile(gi))]
    return RULE + TITLE + "".join(rows), OK


def _rows(state: DriverState, gi: GpuInstance, slices: int) -> str:
    profile = state.profile(gi)
    whole = slices == profile.compute_slices
    number = f"{compute_profile_id(slices)}{'*' if whole else ' '}"
    count = f"{_free(gi, profile, slices)}/{profile.compute_slices // slices}"
    sms = profile.sms if whole else slices * state.model.slice_sms
    decoders, encoders, copy, jpeg, flow = profile.engines
    return (
        f"|   0{gi.id:>7}       {'MIG ' + compute_name(profile, slices):<21}{number:<7}{count:<14}"
        f"{sms:<10}{decoders:<6}{encoders:<6}{flow}   |\n"
        f"|{'':70}{copy:<6}{jpeg:<10}|\n"
    )


def _free(gi: GpuInstance, profile: Profile, slices: int) -> int:
    """Count how many more compute instances of that size fit beside one another."""
    taken = {slot for ci in gi.compute for slot in range(ci.start, ci.start + ci.slices)}
    count, start = 0, 0
    while start + slices <= profile.compute_slices:
        fits = not taken & set(range(start, start + slices))
        count += fits
        start += slices if fits else 1
    return count
