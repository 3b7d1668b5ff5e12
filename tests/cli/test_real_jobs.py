"""The same way through with real jobs: ResNet-18 and BERT train side by side on this host's cores."""

import csv
import importlib.util
import os

import pytest

from bench.launch.docker import why_not_docker
from bench.plan.catalog import load_catalog

PAIR = ("resnet18-training", "bert-base-training")
PLAN = f"name: real\nmodes: [cpu-shared]\nmixes: {{pair: [{', '.join(PAIR)}]}}\ntiming: smoke\nblocks: 1\n"


def require(reason, promise):
    """Skip, or fail where the machine was promised to have it."""
    if reason:
        (pytest.fail if os.environ.get(promise) else pytest.skip)(reason)


@pytest.mark.workloads
def test_in_processes(place):
    missing = [name for name in ("torch", "torchvision", "transformers") if importlib.util.find_spec(name) is None]
    require(missing and f"{', '.join(missing)} not installed", "BENCH_REQUIRE_WORKLOADS")
    measures(place, "process")


@pytest.mark.docker
def test_in_containers(place):
    require(why_not_docker([load_catalog()[name] for name in PAIR]), "BENCH_REQUIRE_DOCKER")
    measures(place, "docker")


def measures(place, launcher):
    """Both jobs train alone and side by side; the numbers are measured ones, and the report has them."""
    place.plan.write_text(PLAN)
    done = place.run("--plan", place.plan, "--device", "cpu", "--launcher", launcher, "--results", place.results,
                     "--quiet", within_s=600)  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = [record for record, _ in place.records().values()]
    assert sorted(tenant["job"] for record in records for tenant in record["tenants"]) == sorted(PAIR * 2)
    assert all(record["status"] == "ok" and not record["simulated"] for record in records)
    assert all(tenant["libraries"]["torch"] for record in records for tenant in record["tenants"])
    with (place.run_folder / "report" / "tables" / "jobs.csv").open() as file:
        rates = [float(row["rate"]) for row in csv.DictReader(file)]
    assert rates
    assert min(rates) > 0
    assert "not on a GPU" in (place.run_folder / "report" / "index.html").read_text()
