"""The script for a borrowed GPU, with an interpreter that only writes down what it is asked to do."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_session.sh"


@pytest.fixture
def session(tmp_path, tool):
    """Run the script; `python` in it answers with its arguments, and fails where they hold the word given."""

    def run(*arguments, fails="never", out=True):
        body = f'case "$*" in *{fails}*) echo "no $2 today" >&2; exit 1 ;; esac\necho "$*"'
        environment = {**tool("python3", body), **({"OUT": str(tmp_path / "out")} if out else {})}
        environment = environment if out else {key: value for key, value in environment.items() if key != "OUT"}
        return subprocess.run(
            [SCRIPT, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )

    return run


def test_every_step_leaves_its_file(session, tmp_path):
    done = session("--device", "cpu", "--short")
    assert (done.returncode, done.stderr) == (0, "")
    out = tmp_path / "out"
    assert (out / "doctor.json").read_text() == "-m bench doctor --json --device cpu\n"
    assert (out / "summary.md").read_text().startswith("-m bench selftest --device cpu --output ")
    assert (out / "speeds.txt").read_text() == "benchmarks/solo_speeds.py --device cpu --seconds 2\n"
    steps = [line.partition(":")[0] for line in (out / "session.txt").read_text().splitlines()]
    assert steps == ["environment", "doctor", "selftest", "speeds"]
    with tarfile.open(out / "session.tar.gz") as archive:
        names = {Path(name).name for name in archive.getnames()}
    assert names >= {"session.txt", "environment.txt", "doctor.json", "summary.md", "speeds.txt"}
    assert len(list(out.iterdir())) <= 8  # as many as a visit may bring back


def test_a_step_that_fails_is_told_and_the_others_run_all_the_same(session, tmp_path):
    done = session("--device", "cpu", fails="selftest")
    assert done.returncode == 1
    told = (tmp_path / "out" / "session.txt").read_text()
    assert "selftest: exit code 1" in told
    assert "    no bench today" in told
    assert "speeds: exit code 0" in told


def test_wheels_are_installed_without_a_network(session, tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / "one-1-py3-none-any.whl").touch()
    assert session("--device", "cpu", "--wheels", "wheels").returncode == 0
    said = (tmp_path / "out" / "wheels.txt").read_text()
    assert "pip install --quiet --no-index --no-deps" in said
    assert f"{wheels}/one-1-py3-none-any.whl" in said


@pytest.mark.parametrize("arguments", [("--device", "tpu"), ("--wheels",), ("--fast",)])
def test_wrong_usage_is_refused(session, tmp_path, arguments):
    done = session(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: ")
    assert not (tmp_path / "out").exists()


def test_without_a_folder_to_write_to_nothing_runs(session):
    assert session(out=False).returncode == 2


def test_help(session):
    assert session("--help").returncode == 0


def test_it_runs_from_anywhere_without_being_root():
    assert os.access(SCRIPT, os.X_OK)
