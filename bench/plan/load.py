"""From a plan's YAML text to a `Plan`, or to the full list of what is wrong with it, each with its place."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bench.errors import PlanError
from bench.plan.catalog import Catalog, ParameterValue
from bench.plan.inputs import Find
from bench.plan.job_files import job_files
from bench.plan.mode import MODE_ADAPTER, MODE_TYPES, Mode, why_not_together
from bench.plan.model import PRIMARY_METRICS, TIMINGS, Job, Mix, Plan, Timing
from bench.plan.own import OWN_KEYS, own_job
from bench.plan.price import read_price
from bench.plan.whole_gpus import why_not_shared
from bench.plan.wording import did_you_mean, listed, shown

PRESET_FOLDER = Path(__file__).parent / "presets"
PLAN_KEYS = ("name", "modes", "mixes", "timing", "blocks", "baseline", "primary", "price")
LONGEST_NAME = 200
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
    hint = did_you_mean(name_or_path, presets)
    raise PlanError(name_or_path, [f"no such file, and no preset of that name{hint}; presets: {listed(presets)}"])


def load_plan(path: Path, catalog: Catalog, find: Find | None = None) -> Plan:
    """Read and check one plan file; raises PlanError with every problem found.

    `find` tells where files are that its jobs name: beside the plan, unless they are elsewhere.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(str(path), [f"cannot be read as UTF-8 text: {error}"]) from error
    return read_plan(text, str(path), catalog, find or path.parent.joinpath)


def read_plan(text: str, source: str, catalog: Catalog, find: Find = Path) -> Plan:
    """Check a plan's text; raises PlanError with every problem found."""
    reader = _Reader(catalog, find)
    plan = reader.plan(_parse(text, source))
    if plan is None:
        raise PlanError(source, reader.problems)
    return plan


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key written twice, of which plain YAML silently lets the second win."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            written = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else key
            if written in seen:
                raise yaml.composer.ComposerError(
                    None, None, f"key {shown(key.value)} is written twice", key.start_mark
                )
            seen.add(written)
        return node


def _parse(text: str, source: str) -> Mapping[str, Any]:
    try:
        raw = yaml.load(text, Loader=_StrictLoader)
    except RecursionError as error:
        raise PlanError(source, ["not a plan: nested far too deeply"]) from error
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise PlanError(source, [f"not valid YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(raw, Mapping):
        found = "it is empty" if raw is None else f"found {type(raw).__name__}"
        raise PlanError(source, [f"a plan is a mapping with the keys modes and mixes; {found}"])
    return raw


class _Reader:
    """Reads the parts of a plan one by one and keeps going, so that all problems are told at once."""

    def __init__(self, catalog: Catalog, find: Find) -> None:
        self.catalog = catalog
        self.find = find
        self.problems: list[str] = []
        self._own: dict[str, Job] = {}

    def plan(self, raw: Mapping[str, Any]) -> Plan | None:
        self._known_keys(raw, PLAN_KEYS, "")
        name = self._name(raw.get("name", "unnamed"), "name")
        modes = self._modes(raw)
        timing = TIMINGS[self._one_of(raw.get("timing", "standard"), tuple(TIMINGS), "timing", "standard")]
        mixes = self._mixes(raw, timing)
        blocks = self._whole_number(raw.get("blocks", timing.blocks), "blocks", 1, 1000)
        primary = self._primary(raw.get("primary", ["stp"]))
        self._shares_fit(modes, mixes)
        for place, problem in why_not_shared(mixes, modes, self.catalog):
            self._say(place, problem)
        baseline = self._baseline(raw.get("baseline"), modes)
        price = read_price(raw.get("price"), self._say)
        if self.problems:
            return None
        return Plan(
            name=name,
            modes=tuple(modes), mixes=tuple(mixes), timing=timing, blocks=blocks,
            baseline=baseline, primary=primary, price=price,
        )  # fmt: skip

    def _say(self, place: str, problem: str) -> None:
        self.problems.append(f"{place}: {problem}" if place else problem)

    def _known_keys(self, raw: Mapping[Any, Any], known: Sequence[str], place: str) -> None:
        for key in raw:
            if key not in known:
                self._say(place, f"unknown key {shown(key)}{did_you_mean(key, known)}; known: {listed(known)}")

    def _one_of(self, value: Any, known: Sequence[str], place: str, default: str) -> str:
        if value in known:
            return str(value)
        self._say(place, f"unknown value {shown(value)}{did_you_mean(value, known)}; known: {listed(known)}")
        return default

    def _whole_number(self, value: Any, place: str, low: int, high: int) -> int:
        if type(value) is int and low <= value <= high:
            return value
        self._say(place, f"must be a whole number from {low} to {high}, not {shown(value)}")
        return low

    def _name(self, value: Any, place: str) -> str:
        text = str(value) if isinstance(value, str) or (type(value) is int and abs(value) < 1e9) else ""
        if text.strip() and text.isprintable() and len(text) <= LONGEST_NAME:
            return text
        self._say(place, f"must be one line of text, of at most {LONGEST_NAME} characters, not {shown(value)}")
        return "unnamed"

    def _entries(self, raw: Mapping[str, Any], key: str, kind: type, shape: str) -> Any:
        value = raw.get(key)
        if isinstance(value, kind) and value:
            return value
        found = "is missing" if key not in raw else f"is {shown(value)}"
        self._say(key, f"{found}; it must be {shape}")
        return kind()

    def _modes(self, raw: Mapping[str, Any]) -> list[Mode]:
        entries = self._entries(raw, "modes", list, "a list of modes, such as [time-slicing, mps]")
        modes = [self._mode(entry, f"modes[{i}]") for i, entry in enumerate(entries)]
        known = [mode for mode in modes if mode is not None]
        self._no_doubles([mode.label for mode in known], "modes")
        if why_not := why_not_together(known):
            self._say("modes", why_not)
        return known

    def _no_doubles(self, names: Iterable[str | int], place: str) -> None:
        for name, times in Counter(names).items():
            if times > 1:
                self._say(place, f"{shown(name)} is listed {times} times")

    def _mode(self, entry: Any, place: str) -> Mode | None:
        options = {"mode": entry} if isinstance(entry, str) else entry
        if not isinstance(options, Mapping) or "mode" not in options:
            self._say(place, f"must be a mode's name or a mapping with the key mode, not {shown(entry)}")
            return None
        name = options["mode"]
        if not isinstance(name, str) or name not in MODE_TYPES:
            hint = did_you_mean(name, MODE_TYPES)
            self._say(place, f"unknown mode {shown(name)}{hint}; known: {listed(MODE_TYPES)}")
            return None
        self._known_keys(options, tuple(MODE_TYPES[name].model_fields), place)
        known = {key: value for key, value in options.items() if key in MODE_TYPES[name].model_fields}
        try:
            return MODE_ADAPTER.validate_python(known, strict=True)
        except ValidationError as error:
            for fault in error.errors():
                field = ".".join(str(part) for part in fault["loc"][1:])
                self._say(f"{place}.{field}", f"{_plain(fault['msg'])}, not {shown(fault['input'])}")
            return None

    def _mixes(self, raw: Mapping[str, Any], timing: Timing) -> list[Mix]:
        entries = self._entries(raw, "mixes", dict, "a mapping from a name to a list of jobs")
        mixes = [
            mix for name, jobs in entries.items() for mix in self._mix(self._name(name, "mixes"), jobs, timing)
        ]
        self._no_doubles([mix.name for mix in mixes], "mixes")
        return mixes

    def _mix(self, name: str, entries: Any, timing: Timing) -> list[Mix]:
        place = f"mixes.{name}"
        if not isinstance(entries, list) or not entries:
            self._say(place, f"must be a list of jobs, such as [resnet50-training], not {shown(entries)}")
            return []
        groups = [self._job(entry, f"{place}[{i}]", timing) for i, entry in enumerate(entries)]
        series = [counts for _, counts in groups if len(counts) > 1]
        if len(series) > 1:
            self._say(place, "only one job of a mix can have a list of counts")
            return []
        return [self._expanded(name, groups, count) for count in (series[0] if series else (None,))]

    def _expanded(self, name: str, groups: Sequence[tuple[Job, list[int]]], count: int | None) -> Mix:
        """Build one mix of a series: the job with a list of counts takes `count`, others their own."""
        name = name if count is None else f"{name} x{count}"
        times = [count if count is not None and len(counts) > 1 else counts[0] for _, counts in groups]
        if sum(times) > MAX_TENANTS:
            self._say(f"mixes.{name}", f"{sum(times)} jobs; no mode carries more than {MAX_TENANTS} tenants")
            times = [1] * len(groups)
        jobs = [job for (job, _), each in zip(groups, times, strict=True) for _ in range(each)]
        return Mix(name=name, jobs=tuple(jobs))

    def _job(self, entry: Any, place: str, timing: Timing) -> tuple[Job, list[int]]:
        """Return the job and its counts; one that is wrong keeps its place, so that its mix can be judged."""
        options = {"workload": entry} if isinstance(entry, str) else entry
        if isinstance(options, Mapping) and "workload" not in options and OWN_KEYS & options.keys():
            return self._own_job(options, place), self._counts(options.get("count", 1), f"{place}.count")
        if not isinstance(options, Mapping) or "workload" not in options:
            self._say(place, f"must be a workload's name or a mapping with the key workload, not {shown(entry)}")
            return Job(workload="unknown"), [1]
        counts = self._counts(options.get("count", 1), f"{place}.count")
        name = options["workload"]
        if not isinstance(name, str) or name not in self.catalog:
            hint = did_you_mean(name, self.catalog)
            self._say(place, f"unknown workload {shown(name)}{hint}; known: {listed(self.catalog)}")
            return Job(workload="unknown"), counts
        parameters = {key: value for key, value in options.items() if key not in ("workload", "count")}
        workload, known = self.catalog[name], self._parameters(name, parameters, place)
        files = job_files(workload, known, timing, self.find, lambda key, why: self._say(f"{place}{key}", why))
        serves_users = workload.reports == "requests"
        return Job(workload=name, parameters=known, serves_users=serves_users, files=files), counts

    def _own_job(self, options: Mapping[Any, Any], place: str) -> Job:
        """Read a command or an image of the user's own; two of one name must be the same."""
        job = own_job(options, self.catalog, lambda key, problem: self._say(f"{place}{key}", problem))
        if self._own.setdefault(job.workload, job) != job:
            self._say(f"{place}.name", f"{shown(job.workload)} names another command or image of this plan, too")
        return job

    def _parameters(self, name: str, given: Mapping[Any, Any], place: str) -> dict[str, ParameterValue]:
        workload = self.catalog[name]
        self._known_keys(given, ("workload", "count", *workload.options), place)
        if workload.one_of and len(workload.one_of.keys() & given.keys()) != 1:
            ways = " or ".join(f"{key}: {value}" for key, value in workload.one_of.items())
            self._say(place, f"{name} takes exactly one of {listed(workload.one_of)}; write {ways}, for instance")
        problems = {key: workload.problem_with(key, given[key]) for key in workload.options if key in given}
        for key, problem in problems.items():
            if problem is not None:
                self._say(f"{place}.{key}", problem)
        return {key: given[key] for key, problem in problems.items() if problem is None}

    def _counts(self, value: Any, place: str) -> list[int]:
        values = value if isinstance(value, list) and value else [value]
        self._no_doubles([count for count in values if type(count) is int], place)
        return [self._whole_number(count, place, 1, MAX_TENANTS) for count in values]

    def _primary(self, value: Any) -> tuple[Any, ...]:
        names = value if isinstance(value, list) and value else [value]
        return tuple(
            dict.fromkeys(self._one_of(name, PRIMARY_METRICS, "primary", PRIMARY_METRICS[0]) for name in names)
        )

    def _baseline(self, value: Any, modes: Sequence[Mode]) -> str | None:
        labels = [mode.label for mode in modes if mode.mode != "exclusive"]
        if value is not None and value not in labels:
            hint = did_you_mean(value, labels)
            found = f"{shown(value)} is not a sharing mode of this plan{hint}"
            self._say("baseline", f"{found}; it has: {listed(labels)}")
        return None if value is None else str(value)

    def _shares_fit(self, modes: Sequence[Mode], mixes: Sequence[Mix]) -> None:
        for mode in modes:
            for mix in mixes:
                for shares in mode.shares_for_other_than(len(mix.jobs)):
                    self._say(f"mixes.{mix.name}", f"has {len(mix.jobs)} jobs, but {mode.label} has {shares}")


def _plain(message: str) -> str:
    """Turn pydantic's `Input should be …` into a sentence about the plan."""
    return re.sub(r"^(Input|String) should", "should", message).replace("a valid tuple", "a list")
