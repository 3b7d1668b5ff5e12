"""TensorFlow's workload, which has requirements of its own: here where they are installed, else in its image."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from bench.launch.events import EventLog

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None,
    reason="dockerfiles/requirements/tensorflow.txt is not installed",
)


def test_on_the_cpu(start_workload: Callable[..., Any]) -> None:
    tenant = start_workload("tensorflow-resnet50-training", "cpu", warmup_steps=1, batch_size=2, image_size=32)
    assert tenant.await_event("hello")["libraries"]["keras"]
    assert tenant.await_event("ready")["warmup"]["items"] == [2]
    tenant.release(in_s=0.0, for_s=0.2)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "ready", "step", "done"]
    events = EventLog(tenant.folder / "events.jsonl").read()
    assert events.problems == []
    assert events.identity["device_uuid"] is None
    assert events.done["peak_memory_mib"] > 1
