"""The files that a job names in a plan, and the users who come at the instants of one."""

from collections.abc import Callable, Mapping

from bench.plan.catalog import ParameterValue, Workload
from bench.plan.inputs import Find, InputFile, instants_in, read_input
from bench.plan.model import Timing

TRACE, ARRIVALS = "trace", "arrivals"

Say = Callable[[str, str], None]
"""Takes the place inside the job (`.trace`, or empty) and what is wrong there."""


def job_files(
    workload: Workload, given: Mapping[str, ParameterValue], timing: Timing, find: Find, say: Say
) -> dict[str, InputFile]:
    """Read the files that these parameters name; whatever is wrong with one is said."""
    if problem := _why_not_replayed(workload, given):
        say("", problem)
    files = {}
    for parameter, kind in workload.files.items():
        name = given.get(parameter)
        if name is None or name == workload.parameters.get(parameter):
            continue
        try:
            files[parameter] = file = read_input(str(name), kind, find(str(name)))
            if parameter == TRACE:
                _refuse_short(file, timing)
        except ValueError as error:
            say(f".{parameter}", str(error))
    return files


def _why_not_replayed(workload: Workload, given: Mapping[str, ParameterValue]) -> str | None:
    """Say which half is missing where only one of `arrivals: trace` and `trace: FILE` is given, else None."""
    if TRACE not in workload.files or (given.get(ARRIVALS) == TRACE) == (TRACE in given):
        return None
    if TRACE in given:
        return "trace: FILE goes with arrivals: trace; add that, or name a rate"
    return "arrivals: trace goes with a file of instants; add trace: FILE, in place of rate or load"


def _refuse_short(file: InputFile, timing: Timing) -> None:
    """Raise ValueError where a trace ends before the longest trial does: from then on there would be no load."""
    last_s, least_s = instants_in(file.content)[-1], timing.longest_trial_s
    if last_s < least_s:
        once_more = ", twice that where a block is measured once more" if timing.repeats_unsteady else ""
        raise ValueError(
            f"the last instant of {file.name} is {last_s:g} s, but a trial can last {least_s:g} s (timing "
            f"{timing.name}: {timing.settle_s:g} s to settle, {timing.window_s:g} s of window{once_more}); "
            "no trace is repeated: name one that goes on until then"
        )
