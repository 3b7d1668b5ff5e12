"""Which modes of a plan run when the command line names some with `--mode`."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.errors import SetupError
from bench.plan.mode import GPU_SHARING_MODES, MODE_ADAPTER, MODE_TYPES, Mode, why_not_together
from bench.plan.model import Plan
from bench.plan.wording import did_you_mean


@dataclass(frozen=True)
class Selection:
    """The plan with the modes that will run, and those of them the user asked for by name.

    A mode in `required` that the device cannot enter refuses the run; any other is skipped with its reason.
    """

    plan: Plan
    required: frozenset[str]


def select_modes(plan: Plan, names: Sequence[str], preset: bool, device_kind: str) -> Selection:
    """Keep the plan's entries of each named mode, or add the bare one; `all` adds every sharing mode."""
    if not names:
        required = [] if preset else [mode.label for mode in plan.modes]
        return Selection(plan, frozenset(required))
    _refuse_unknown(names)
    everything = ("cpu-shared",) if device_kind == "cpu" else GPU_SHARING_MODES
    wanted = dict.fromkeys(name for named in names for name in (everything if named == "all" else [named]))
    if "all" in names:
        wanted |= dict.fromkeys(mode.mode for mode in plan.modes)
    modes = [mode for name in wanted for mode in _entries(plan, name)]
    if why_not := why_not_together(modes):
        raise SetupError(f"--mode {','.join(names)}: {why_not}")
    required = [mode.label for mode in modes if mode.mode in names]
    return Selection(plan.model_copy(update={"modes": tuple(modes)}), frozenset(required))


def _entries(plan: Plan, name: str) -> list[Mode]:
    return [mode for mode in plan.modes if mode.mode == name] or [MODE_ADAPTER.validate_python({"mode": name})]


def _refuse_unknown(names: Sequence[str]) -> None:
    known = [*MODE_TYPES, "all"]
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise SetupError(f"--mode {name}: no such mode{hint}; known: {', '.join(known)}")
