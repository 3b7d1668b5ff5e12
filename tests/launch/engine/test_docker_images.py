"""What the images hold works: what slim.sh took out of the base is missed by nobody."""

import re
import textwrap
from pathlib import Path

import docker
import pytest

from bench.launch.docker import DockerLauncher

pytestmark = pytest.mark.docker

BASE = "gpu-sharing-bench/base"
LIMIT_BYTES = 5e9
PROGRAMS = Path(__file__).parents[2] / "fixtures" / "programs"

# What speaks to other hosts is loaded where the libraries of their network are, which no image of ours has.
OF_A_CLUSTER = ("nvidia/nvshmem/lib/nvshmem_", "nvidia/cu13/lib/libcufile_rdma")

MISSING_LIBRARIES = """
    import pathlib, re, subprocess, sysconfig
    packages = pathlib.Path(sysconfig.get_path("purelib"))
    files = [*packages.rglob("*.so"), *packages.rglob("*.so.[0-9]*")]
    cached = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    there = {path.name for path in files} | set(re.findall(r"^\\s+(\\S+) \\(", cached, re.MULTILINE))
    for path in files:
        dynamic = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
        for name in set(re.findall(r"NEEDED.*\\[(.+)\\]", dynamic)) - there:
            print(name, path.relative_to(packages))
"""

# Every symbol of these is looked up at once, not when it is first called.
DLOPEN = """
    import ctypes, os, pathlib, torch
    folder = pathlib.Path(torch.__file__).parent / "lib"
    for name in ("libtorch_cpu.so", "libtorch_cuda.so", "libtorch_cuda_linalg.so", "libtorch_python.so"):
        ctypes.CDLL(folder / name, mode=os.RTLD_NOW)
        print(name)
"""

TRAIN = """
    import torch, torchvision
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    images, labels = torch.randn(4, 3, 64, 64), torch.tensor([1, 2, 3, 4])
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(losses[-1] < losses[0])
"""

COMPILE_FOR_CPU = """
    import torch, torch._inductor
    def f(x):
        return torch.nn.functional.gelu(x) * 2 + x.sum()
    x = torch.randn(1000)
    print(torch.allclose(torch.compile(f, fullgraph=True)(x), f(x), atol=1e-4))
"""


@pytest.fixture(scope="module")
def engine(launcher: DockerLauncher) -> docker.DockerClient:
    """The engine, where it holds the base image."""
    client = docker.from_env()
    if not launcher.has_image(BASE):
        pytest.skip(f"no image {BASE}: only the one named by BENCH_TEST_IMAGE is there")
    return client


def run(engine: docker.DockerClient, program: str | Path) -> list[str]:
    """Run Python text or a file in the base image with the rights of a job; return the lines that it printed."""
    words = [f"/programs/{program.name}"] if isinstance(program, Path) else ["-c", textwrap.dedent(program)]
    output = engine.containers.run(
        BASE, ["python", "-W", "ignore", *words], network_mode="none", read_only=True, remove=True,
        tmpfs={"/tmp": "rw,exec"}, volumes={str(PROGRAMS): {"bind": "/programs", "mode": "ro"}},
    )  # fmt: skip
    return str(output.decode()).splitlines()


def test_the_base_keeps_to_its_budget(engine: docker.DockerClient) -> None:
    assert engine.images.get(BASE).attrs["Size"] < LIMIT_BYTES


def test_says_who_made_it_from_what(engine: docker.DockerClient) -> None:
    image = engine.images.get(BASE)
    assert image.attrs["Config"]["User"] == "10001:10001"
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?|unknown", image.labels["org.opencontainers.image.revision"])
    assert f"{BASE}:{image.labels['org.opencontainers.image.version']}" in image.tags
    (version,) = run(engine, "import torch; print(torch.__version__)")
    assert version.partition("+")[0] == image.labels["package.torch"]


def test_no_library_lacks_another(engine: docker.DockerClient) -> None:
    missing = [line.split() for line in run(engine, MISSING_LIBRARIES)]
    unexpected = {name for name, user in missing if not user.startswith(OF_A_CLUSTER)}
    assert unexpected == {"libcuda.so.1"}  # which comes with the driver


def test_every_symbol_of_torch_is_found(engine: docker.DockerClient) -> None:
    assert "libtorch_cuda.so" in run(engine, DLOPEN)  # each would have raised


def test_trains(engine: docker.DockerClient) -> None:
    assert run(engine, TRAIN) == ["True"]


def test_compiles_for_the_cpu(engine: docker.DockerClient) -> None:
    assert run(engine, COMPILE_FOR_CPU) == ["True"]


def test_compiles_for_gpus(engine: docker.DockerClient) -> None:
    (line,) = run(engine, PROGRAMS / "compile_for_gpus.py")
    assert line == r"nvidia b'\x7fELF' b'\x7fELF' b'\x7fELF' stub"
