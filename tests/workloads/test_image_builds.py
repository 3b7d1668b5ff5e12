"""`build_all.sh`, as far as it goes without building: what it would run, and how it refuses."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def build_all(root: Path, tmp_path: Path) -> object:
    """Give a function that runs the script; PATH can be narrowed to tools without docker."""

    def run(*words: str, without_docker: bool = False) -> subprocess.CompletedProcess[str]:
        environment = dict(os.environ)
        if without_docker:
            for tool in ("bash", "env", "git", "dirname"):
                (tmp_path / tool).symlink_to(shutil.which(tool))
            environment["PATH"] = str(tmp_path)
        command = [root / "dockerfiles" / "build_all.sh", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def test_dry_run_prints_the_builds_in_order(build_all, root: Path) -> None:
    words = [
        "--dry-run",
        "--tag",
        "v1",
        "--network",
        "host",
        "--build-arg",
        "BASE_IMAGE=a:b",
        "--build-arg",
        "X=y z",
    ]
    result = build_all(*words, without_docker=True)
    assert result.returncode == 0
    base, training, inference, tensorflow = (shlex.split(line) for line in result.stdout.splitlines())
    built = {"base": base, "training": training, "inference": inference, "tensorflow": tensorflow}
    for name, command in built.items():
        assert command[:2] == ["docker", "build"]
        assert command[-1] == str(root)
        assert f"gpu-sharing-bench/{name}:v1" in command
        assert {"host", "X=y z", str(root / "dockerfiles" / f"Dockerfile.{name}")} <= set(command)
        assert any(word.startswith("org.opencontainers.image.revision=") for word in command)
    assert "BASE_IMAGE=a:b" in base
    assert "BASE_IMAGE=a:b" in tensorflow
    for command in (training, inference):
        assert "PARENT_IMAGE=gpu-sharing-bench/base:v1" in command
        assert "BASE_IMAGE=a:b" not in command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nonsense"], "unknown option --nonsense"),
        (["--tag"], "--tag needs a value"),
        (["--build-arg", "novalue"], "KEY=VALUE"),
    ],
)
def test_wrong_usage(build_all, words: list[str], message: str) -> None:
    result = build_all(*words)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stdout == ""


def test_help(build_all) -> None:
    result = build_all("--help")
    assert result.returncode == 0
    assert "--build-arg" in result.stdout


def test_a_missing_engine_names_the_fix(build_all) -> None:
    result = build_all(without_docker=True)
    assert result.returncode == 2
    assert "apt-get install docker.io" in result.stderr
