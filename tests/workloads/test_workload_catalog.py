"""The catalog and the programs it names agree, without any of their libraries."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NAMES = (
    "resnet18-training",
    "resnet50-training",
    "resnet152-training",
    "bert-base-training",
    "bert-large-training",
    "gpt2-training",
    "vit-b16-training",
    "ddp-resnet50-training",
    "tensorflow-resnet50-training",
    "resnet50-batch-inference",
    "bert-base-batch-inference",
    "gpt2-llm-generation",
    "first-context",
    "sm-probe",
    "tensor-probe",
    "l2-probe",
    "bandwidth-probe",
    "pcie-h2d-probe",
    "pcie-d2h-probe",
    "cpu-probe",
    "memory-probe",
    "jupyter",
)
MODULES = (
    "workloads.training.resnet_training",
    "workloads.training.bert_training",
    "workloads.training.gpt2_training",
    "workloads.training.vit_training",
    "workloads.training.ddp_training",
    "workloads.training.tensorflow_resnet",
    "workloads.inference.batch_inference",
    "workloads.inference.llm_generation",
    "workloads.probes.first_context",
    "workloads.probes.aggressor",
    "workloads.interactive.jupyter_simulation",
)


def test_the_fixed_names_are_there(catalog: dict[str, Any]) -> None:
    assert set(NAMES) <= set(catalog)
    assert {entry["module"] for entry in catalog.values()} == set(MODULES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_every_parameter_is_an_option_that_takes_its_default(
    catalog: dict[str, Any], spell_flags: Callable[..., list[str]], name: str, device: str
) -> None:
    entry = catalog[name]
    assert entry["cpu_parameters"].keys() <= entry["parameters"].keys()
    parameters = {**entry["parameters"], **(entry["cpu_parameters"] if device == "cpu" else {})}
    parser = importlib.import_module(entry["module"]).option_parser()
    options = parser.parse_args(["--device", device, "--seed", "3", *spell_flags(parameters)])
    assert parameters.items() <= vars(options).items()


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_is_complete(catalog: dict[str, Any], root: Path, name: str) -> None:
    entry = catalog[name]
    assert root.joinpath(*entry["module"].split(".")).with_suffix(".py").is_file()
    units = {
        "training": {"images", "sequences"},
        "inference": {"images", "sequences", "tokens"},
        "interactive": {"cells"},
        "probe": {"op", "GFLOP", "GB"},
    }
    assert entry["unit"] in units[entry["kind"]]
    assert entry["resources"]["cpus"] >= 1
    assert entry["resources"]["memory_gb"] > 0
    simulation = dict(entry["simulation"])
    assert simulation.pop("provenance").split(":")[0] in {"literature", "derived", "assumed"}
    assert set(simulation) == {"host_ms", "fixed_ms", "scaling_ms", "gpu_memory_gb", "step_cv"}
    assert all(value > 0 for value in simulation.values())


@pytest.mark.parametrize("name", NAMES)
def test_its_image_holds_its_program(catalog: dict[str, Any], root: Path, name: str) -> None:
    kind = catalog[name]["image"].removeprefix("gpu-sharing-bench/")
    dockerfile = (root / "dockerfiles" / f"Dockerfile.{kind}").read_text(encoding="utf-8")
    folder = "/".join(catalog[name]["module"].split(".")[:-1])
    assert f"COPY {folder} {folder}\n" in dockerfile


def test_the_images_and_the_extra_ask_for_the_same_libraries(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [
        line
        for name in ("base", "models", "serving", "interactive")
        for line in (root / "dockerfiles" / "requirements" / f"{name}.in").read_text(encoding="utf-8").splitlines()
        if line[0] not in "#-"
    ]
    assert sorted(lines) == sorted(project["optional-dependencies"]["workloads"])


@pytest.mark.parametrize("module", MODULES)
def test_help_needs_no_library(root: Path, module: str) -> None:
    result = run_bare(root, module, "--help")
    assert result.returncode == 0
    assert "--batch-size" in result.stdout


@pytest.mark.parametrize("module", MODULES)
def test_a_missing_library_is_one_line_that_names_the_command(root: Path, module: str) -> None:
    result = run_bare(root, module, "--device", "cpu")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    of_its_own = "pip install -r dockerfiles/requirements/tensorflow.txt"
    assert (of_its_own if "tensorflow" in module else "pip install -e '.[workloads]'") in result.stderr


def test_a_missing_library_is_an_event(start_tenant: Callable[..., Any], root: Path) -> None:
    tenant = start_tenant([sys.executable, "-S", "-m", MODULES[0], "--device", "cpu"], cwd=root)
    assert tenant.finish() == 1
    assert tenant.names() == ["hello", "error"]
    assert "[workloads]" in tenant.events()[-1]["message"]


@pytest.mark.parametrize("words", [["--batch-size", "0"], ["--precision", "fp8"], ["--model", "resnet51"]])
def test_impossible_values_are_refused(root: Path, words: list[str]) -> None:
    assert run_bare(root, MODULES[0], *words).returncode == 2


def run_bare(root: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program without any installed package."""
    command = [sys.executable, "-S", "-m", module, *words]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
