"""What pins down the code that ran: the content of the image, not its name."""

import io
from collections.abc import Callable
from typing import Any

import docker
import pytest

from bench.launch.docker import DockerLauncher
from bench.plan.catalog import Workload

pytestmark = pytest.mark.docker


def test_names_the_image_by_its_content(launcher: DockerLauncher, workload: Workload) -> None:
    provenance = launcher.provenance(workload)
    assert provenance["image"] == workload.image
    assert (provenance["image_id"] or "").startswith("sha256:")


def test_a_tag_that_moves_during_a_run_changes_nothing(
    launcher: DockerLauncher,  # skips where there is no engine
    launcher_for: Callable[..., DockerLauncher],
    make_tenant: Callable[..., Any],
    workload: Workload,
) -> None:
    del launcher
    engine = docker.from_env()
    first, second = (_labelled(engine, workload.image, version) for version in ("first", "second"))
    moving = workload.model_copy(update={"image": "bench-test/moving:latest"})
    try:
        assert engine.images.get(first).tag("bench-test/moving")
        launcher = launcher_for([moving])
        launcher.preflight([moving])
        assert engine.images.get(second).tag("bench-test/moving")
        handle = launcher.start(make_tenant("", workload=moving, run_id="moving-tag"))
        (container,) = engine.containers.list(all=True, filters={"label": "bench.run=moving-tag"})
        handle.remove()
        assert launcher.provenance(moving)["image_label version"] == "first"
        assert container.attrs["Image"] == first
    finally:
        for image in (first, second):
            engine.images.remove(image, force=True)


def _labelled(engine: docker.DockerClient, base: str, version: str) -> str:
    """Make an image that differs from the base in one label, and return its id."""
    text = f"FROM {base}\nLABEL version={version}\n"
    image, _ = engine.images.build(fileobj=io.BytesIO(text.encode()), rm=True)
    return str(image.id)
