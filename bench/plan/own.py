"""Jobs of the user's own in a plan: any command or image, in place of a workload of the catalog."""

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from bench.plan.catalog import Catalog
from bench.plan.model import Job, Program
from bench.plan.wording import did_you_mean, listed, shown

OWN_KEYS = frozenset({"command", "image"})  # one of them makes a job one's own
KNOWN_KEYS = (*Program.model_fields, "name", "count")
LONGEST_NAME = 200

Say = Callable[[str, str], None]
"""Takes the place inside the job (`.cpus`, or empty) and what is wrong there."""


def own_job(options: Mapping[Any, Any], catalog: Catalog, say: Say) -> Job:
    """Return the job; whatever is wrong with it is said, and the job then stands for nothing."""
    for key in options:
        if key not in KNOWN_KEYS:
            say("", f"unknown key {shown(key)}{did_you_mean(key, KNOWN_KEYS)}; known: {listed(KNOWN_KEYS)}")
    program = _program(options, say)
    name = options.get("name", shlex.join(program.command) or program.image or "unknown")
    if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        say(".name", f"must be one line of text, of at most {LONGEST_NAME} characters, not {shown(name)}")
        name = "unknown"
    elif name in catalog:
        say(".name", f"{shown(name)} is a workload of the catalog; give another name")
    return Job(workload=name, program=program)


def _program(options: Mapping[Any, Any], say: Say) -> Program:
    given = {key: value for key, value in options.items() if key in Program.model_fields}
    problems = {key: why for key, value in given.items() if (why := _problem(key, value))}
    for key, why in problems.items():
        say(f".{key}", why)
    right = {key: value for key, value in given.items() if key not in problems}
    if "command" in right:
        right["command"] = tuple(map(str, right["command"]))
    return Program(**right)


def _problem(key: str, value: Any) -> str | None:
    """Say why `value` cannot be what it should be, or None if it can."""
    if key == "command":
        words = isinstance(value, list) and bool(value)
        if words and all(type(word) in (str, int, float) and "\0" not in str(word) for word in value):
            return None
        return f"must be a list of words, such as [python, train.py], not {shown(value)}"
    if key in ("cpus", "memory_gb"):
        try:
            Program.model_validate({key: value}, strict=True)
        except ValidationError:
            kind = "a whole number" if key == "cpus" else "a number"
            return f"must be {kind} above 0, not {shown(value)}"
        return None
    if isinstance(value, str) and value.strip() and value.isprintable():
        return None
    return f"must be one line of text, not {shown(value)}"
