"""From a plan's YAML text to a `Plan`, or to the full list of what is wrong with it, each with its place."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bench.errors import PlanError
from bench.plan.catalog import Catalog, ParameterValue
from bench.plan.mode import MODE_ADAPTER, MODE_TYPES, Mig, Mode
from bench.plan.model import PRIMARY_METRICS, TIMINGS, Job, Mix, Plan

PRESET_FOLDER = Path(__file__).parent / "presets"
PLAN_KEYS = ("name", "modes", "mixes", "timing", "blocks", "baseline", "primary")
MAX_TENANTS = 48  # MPS clients per server before R590; no other mode carries more


def find_plan(name_or_path: str, device_kind: str) -> Path:
    """Return the file of a preset (`smoke`, `standard`; its CPU form on a CPU) or of a user's own plan."""
    presets = {path.name.split(".")[0] for path in PRESET_FOLDER.glob("*.yaml")}
    if name_or_path in presets:
        own = PRESET_FOLDER / f"{name_or_path}.{device_kind}.yaml"
        return own if own.exists() else PRESET_FOLDER / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    hint = _nearest(name_or_path, presets)
    raise PlanError(name_or_path, [f"no such file, and no preset of that name{hint}; presets: {_list(presets)}"])


def load_plan(path: Path, catalog: Catalog) -> Plan:
    """Read and check one plan file; raises PlanError with every problem found."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(str(path), [f"cannot be read as UTF-8 text: {error}"]) from error
    return read_plan(text, str(path), catalog)


def read_plan(text: str, source: str, catalog: Catalog) -> Plan:
    """Check a plan's text; raises PlanError with every problem found."""
    reader = _Reader(catalog)
    plan = reader.plan(_parse(text, source))
    if plan is None:
        raise PlanError(source, reader.problems)
    return plan


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key written twice, which plain YAML silently lets the second one win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is written twice", node.value[index][0].start_mark
                )
        return super().construct_mapping(node, deep)


def _parse(text: str, source: str) -> Mapping[str, Any]:
    try:
        raw = yaml.load(text, Loader=_StrictLoader)
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise PlanError(source, [f"not valid YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(raw, Mapping):
        found = "it is empty" if raw is None else f"found {type(raw).__name__}"
        raise PlanError(source, [f"a plan is a mapping with the keys modes and mixes; {found}"])
    return raw


class _Reader:
    """Reads the parts of a plan one by one and keeps going, so that all problems are told at once."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.problems: list[str] = []

    def plan(self, raw: Mapping[str, Any]) -> Plan | None:
        self._known_keys(raw, PLAN_KEYS, "")
        modes = self._modes(raw)
        mixes = self._mixes(raw)
        timing = TIMINGS[self._one_of(raw.get("timing", "standard"), tuple(TIMINGS), "timing", "standard")]
        blocks = self._whole_number(raw.get("blocks", timing.blocks), "blocks", 1, 1000)
        primary = self._primary(raw.get("primary", ["stp"]))
        self._layouts_fit(modes, mixes)
        baseline = self._baseline(raw.get("baseline"), modes)
        if self.problems:
            return None
        return Plan(
            name=str(raw.get("name", "unnamed")),
            modes=tuple(modes), mixes=tuple(mixes), timing=timing, blocks=blocks,
            baseline=baseline, primary=primary,
        )  # fmt: skip

    def _say(self, place: str, problem: str) -> None:
        self.problems.append(f"{place}: {problem}" if place else problem)

    def _known_keys(self, raw: Mapping[Any, Any], known: Sequence[str], place: str) -> None:
        for key in raw:
            if key not in known:
                self._say(place, f"unknown key {key!r}{_nearest(key, known)}; known: {_list(known)}")

    def _one_of(self, value: Any, known: Sequence[str], place: str, default: str) -> str:
        if value in known:
            return str(value)
        self._say(place, f"unknown value {value!r}{_nearest(value, known)}; known: {_list(known)}")
        return default

    def _whole_number(self, value: Any, place: str, low: int, high: int) -> int:
        if type(value) is int and low <= value <= high:
            return value
        self._say(place, f"must be a whole number from {low} to {high}, not {value!r}")
        return low

    def _entries(self, raw: Mapping[str, Any], key: str, kind: type, shape: str) -> Any:
        value = raw.get(key)
        if isinstance(value, kind) and value:
            return value
        found = "is missing" if key not in raw else f"is {value!r}"
        self._say(key, f"{found}; it must be {shape}")
        return kind()

    def _modes(self, raw: Mapping[str, Any]) -> list[Mode]:
        entries = self._entries(raw, "modes", list, "a list of modes, such as [time-slicing, mps]")
        modes = [self._mode(entry, f"modes[{i}]") for i, entry in enumerate(entries)]
        known = [mode for mode in modes if mode is not None]
        labels = [mode.label for mode in known]
        for label in sorted({label for label in labels if labels.count(label) > 1}):
            self._say("modes", f"{label} is listed twice")
        return known

    def _mode(self, entry: Any, place: str) -> Mode | None:
        options = {"mode": entry} if isinstance(entry, str) else entry
        if not isinstance(options, Mapping) or "mode" not in options:
            self._say(place, f"must be a mode's name or a mapping with the key mode, not {entry!r}")
            return None
        name = options["mode"]
        if name not in MODE_TYPES:
            self._say(place, f"unknown mode {name!r}{_nearest(name, MODE_TYPES)}; known: {_list(MODE_TYPES)}")
            return None
        self._known_keys(options, tuple(MODE_TYPES[name].model_fields), place)
        known = {key: value for key, value in options.items() if key in MODE_TYPES[name].model_fields}
        try:
            return MODE_ADAPTER.validate_python(known, strict=True)
        except ValidationError as error:
            for fault in error.errors():
                field = ".".join(str(part) for part in fault["loc"][1:])
                self._say(f"{place}.{field}", f"{_plain(fault['msg'])}, not {fault['input']!r}")
            return None

    def _mixes(self, raw: Mapping[str, Any]) -> list[Mix]:
        entries = self._entries(raw, "mixes", dict, "a mapping from a name to a list of jobs")
        return [mix for name, jobs in entries.items() for mix in self._mix(str(name), jobs)]

    def _mix(self, name: str, entries: Any) -> list[Mix]:
        place = f"mixes.{name}"
        if not isinstance(entries, list) or not entries:
            self._say(place, f"must be a list of jobs, such as [resnet50-training], not {entries!r}")
            return []
        groups = [self._job(entry, f"{place}[{i}]") for i, entry in enumerate(entries)]
        series = [count for _, counts in groups if len(counts) > 1 for count in counts]
        if sum(len(counts) > 1 for _, counts in groups) > 1:
            self._say(place, "only one job of a mix can have a list of counts")
            return []
        return [self._expanded(name, groups, count, place) for count in (series or (None,))]

    def _expanded(
        self, name: str, groups: Sequence[tuple[Job | None, list[int]]], count: int | None, place: str
    ) -> Mix:
        """Build one mix of a series: the job with a list of counts takes `count`, others their own."""
        jobs = [
            job
            for job, counts in groups
            for _ in range(count if count is not None and len(counts) > 1 else counts[0])
            if job is not None
        ]
        if len(jobs) > MAX_TENANTS:
            self._say(place, f"{len(jobs)} jobs; no mode carries more than {MAX_TENANTS} tenants")
        return Mix.model_construct(name=name if count is None else f"{name} x{count}", jobs=tuple(jobs))

    def _job(self, entry: Any, place: str) -> tuple[Job | None, list[int]]:
        options = {"workload": entry} if isinstance(entry, str) else entry
        if not isinstance(options, Mapping) or "workload" not in options:
            self._say(place, f"must be a workload's name or a mapping with the key workload, not {entry!r}")
            return None, [1]
        counts = self._counts(options.get("count", 1), f"{place}.count")
        name = options["workload"]
        if name not in self.catalog:
            hint = _nearest(name, self.catalog)
            self._say(place, f"unknown workload {name!r}{hint}; known: {_list(self.catalog)}")
            return None, counts
        parameters = {k: v for k, v in options.items() if k not in ("workload", "count")}
        return Job(workload=name, parameters=self._parameters(name, parameters, place)), counts

    def _parameters(self, name: str, given: Mapping[str, Any], place: str) -> dict[str, ParameterValue]:
        workload = self.catalog[name]
        self._known_keys(given, ("workload", "count", *workload.parameters), place)
        known = {key: value for key, value in given.items() if key in workload.parameters}
        for key, value in known.items():
            if problem := workload.problem_with(key, value):
                self._say(f"{place}.{key}", problem)
        return known

    def _counts(self, value: Any, place: str) -> list[int]:
        values = value if isinstance(value, list) and value else [value]
        if len(set(map(str, values))) < len(values):
            self._say(place, f"has a count twice: {value!r}")
        return [self._whole_number(count, place, 1, MAX_TENANTS) for count in values]

    def _primary(self, value: Any) -> tuple[Any, ...]:
        names = value if isinstance(value, list) and value else [value]
        return tuple(
            dict.fromkeys(self._one_of(name, PRIMARY_METRICS, "primary", PRIMARY_METRICS[0]) for name in names)
        )

    def _baseline(self, value: Any, modes: Sequence[Mode]) -> str | None:
        labels = [mode.label for mode in modes if mode.mode != "exclusive"]
        if value is not None and value not in labels:
            hint = _nearest(value, labels)
            self._say("baseline", f"{value!r} is not a sharing mode of this plan{hint}; it has: {_list(labels)}")
        return None if value is None else str(value)

    def _layouts_fit(self, modes: Sequence[Mode], mixes: Sequence[Mix]) -> None:
        for mode in modes:
            if isinstance(mode, Mig) and mode.profiles is not None:
                for mix in mixes:
                    if len(mix.jobs) != len(mode.profiles):
                        cut = f"{len(mode.profiles)} instances"
                        self._say(f"mixes.{mix.name}", f"has {len(mix.jobs)} jobs, but {mode.label} has {cut}")


def _nearest(word: Any, known: Any) -> str:
    matches = get_close_matches(str(word), [str(name) for name in known], n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _list(names: Any) -> str:
    return ", ".join(sorted(map(str, names)))


def _plain(message: str) -> str:
    """Turn pydantic's `Input should be …` into a sentence about the plan."""
    return re.sub(r"^(Input|String) should", "should", message)
