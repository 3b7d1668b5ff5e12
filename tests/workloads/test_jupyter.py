"""The simulated person at a notebook, with a real kernel where one is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from workloads.interactive.jupyter_simulation import think_times
from workloads.interactive.notebook import DEFAULT_CELLS, read_cells

needs_kernel = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "jupyter_client", "ipykernel")),
    reason="the extra `workloads` is not installed",
)


def notebook(path: Path, *cells: str) -> Path:
    entries = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    path.write_text(json.dumps({"nbformat": 4, "cells": [{"cell_type": "markdown", "source": "hi"}, *entries]}))
    return path


def requests_of(tenant: Any) -> dict[str, list[Any]]:
    events = [event for event in tenant.events() if event["event"] == "request"]
    return {
        name: [each for event in events for each in event[name]] for name in ("scheduled_s", "done_s", "status")
    }


@pytest.mark.workloads
@needs_kernel
def test_cells_are_requests_and_the_one_in_flight_is_finished(
    start_workload: Callable[..., Any], tmp_path: Path
) -> None:
    own = notebook(tmp_path / "own.ipynb", "import time", "time.sleep(0.4)")
    tenant = start_workload("jupyter", "cpu", notebook=str(own), think_s=0.01)
    assert tenant.await_event("identity")["device_name"]
    tenant.await_event("ready")
    start_s, stop_s = tenant.release(in_s=0.0, for_s=1.0)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "ready", "request", "done"]
    requests = requests_of(tenant)
    assert start_s <= min(requests["scheduled_s"])
    assert max(requests["scheduled_s"]) < stop_s
    assert set(requests["status"]) == {"ok"}
    took_s = [d - s for d, s in zip(requests["done_s"], requests["scheduled_s"], strict=True)]
    assert all(second >= 0.4 for second in took_s[1::2])


@pytest.mark.workloads
@needs_kernel
def test_the_notebook_that_comes_along_runs_on_the_cpu(start_workload: Callable[..., Any]) -> None:
    tenant = start_workload("jupyter", "cpu", think_s=0.01)
    ready = tenant.await_event("ready")  # every cell was executed once: one that raised would have ended the job
    assert ready["warmup"]["items"] == [len(DEFAULT_CELLS)]
    tenant.release(in_s=0.0, for_s=1.0)
    assert tenant.finish() == 0
    assert set(requests_of(tenant)["status"]) == {"ok"}


@pytest.mark.workloads
@needs_kernel
def test_a_cell_that_raises_later_is_an_error_of_its_own_and_the_user_goes_on(
    start_workload: Callable[..., Any], tmp_path: Path
) -> None:
    cells = ("turn = globals().get('turn', 0) + 1", "assert turn % 2")  # the warm-up is turn 1
    tenant = start_workload("jupyter", "cpu", notebook=str(notebook(tmp_path / "own.ipynb", *cells)), think_s=0.01)
    tenant.await_event("ready")
    tenant.release(in_s=0.0, for_s=1.0)
    assert tenant.finish() == 0
    statuses = requests_of(tenant)["status"]
    assert statuses[:2] == ["ok", "error"]
    assert "error" not in statuses[2:4]
    assert tenant.events()[-1]["items"] == statuses.count("ok")


@pytest.mark.workloads
@needs_kernel
def test_a_cell_that_raises_in_the_warm_up_ends_the_job(
    start_workload: Callable[..., Any], tmp_path: Path
) -> None:
    tenant = start_workload("jupyter", "cpu", notebook=str(notebook(tmp_path / "a.ipynb", "1 / 0")))
    assert tenant.finish() == 1
    assert "ZeroDivisionError" in tenant.events()[-1]["message"]


def test_think_times_are_those_of_their_seed() -> None:
    assert list(islice(think_times(3, 2.0), 5)) == list(islice(think_times(3, 2.0), 5))
    assert list(islice(think_times(3, 2.0), 5)) != list(islice(think_times(4, 2.0), 5))
    assert median(islice(think_times(3, 2.0), 4001)) == pytest.approx(2.0, rel=0.1)


def test_only_code_cells_with_code_are_read(tmp_path: Path) -> None:
    assert read_cells(notebook(tmp_path / "a.ipynb", "x = 1\nx", " ")) == ["x = 1\nx"]
    with pytest.raises(ValueError, match="no code cells"):
        read_cells(notebook(tmp_path / "b.ipynb"))
