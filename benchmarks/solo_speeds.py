"""How fast each workload of the catalog is alone, without a launcher: `python benchmarks/solo_speeds.py --help`.

Prints a line a workload: its name, then what the program itself says (steps, items per second, median step). One
that does not end well says so instead and makes the exit code 1.
"""

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.launch.contract import Tenant
from bench.modes.contract import Grant
from bench.plan.catalog import EXTRA, Workload, load_catalog

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_S = 60.0  # for imports, building the model, and warming up


def main() -> int:
    """Run one workload after the other; 0 where all ended well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where to work (default: cuda)")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long each works (default: 8)")
    options = parser.parse_args()
    ended_well = [speed(each, options.device, options.seconds) for each in load_catalog().values() if _fits(each)]
    return 0 if all(ended_well) else 1


def _fits(workload: Workload) -> bool:
    """Whether this interpreter and one GPU are enough for it; says why not."""
    lacking = [package for package in workload.requires if importlib.util.find_spec(package) is None]
    why_not = f"needs {workload.whole_gpus} GPUs" if workload.whole_gpus > 1 else ""
    if lacking and workload.install != EXTRA:
        why_not = f"{', '.join(lacking)} not installed"
    if why_not:
        print(f"{workload.name}: left out, {why_not}", flush=True)
    return not why_not


def speed(workload: Workload, device: str, seconds: float) -> bool:
    """Run one workload with the catalog's parameters and print what it says; whether it ended well."""
    assert workload.module is not None  # only programs of a plan's own have none
    command = [sys.executable, "-m", workload.module, *arguments(workload, device), "--seconds", str(seconds)]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S + seconds, check=False
        )
    except subprocess.TimeoutExpired:
        print(f"{workload.name}: not done in {PATIENCE_S + seconds:g} s", flush=True)
        return False
    said = (done.stdout or done.stderr).strip().splitlines()
    failed = f"exit status {done.returncode}: " if done.returncode else ""
    print(f"{workload.name}: {failed}{said[-1] if said else 'nothing'}, items are {workload.unit}", flush=True)
    return not done.returncode


def arguments(workload: Workload, device: str) -> tuple[str, ...]:
    """Return the arguments that a launcher would give."""
    tenant = Tenant(
        name=workload.name, job=workload.name, workload=workload, parameters=workload.parameters_on(device),
        seed=1, device="cpu" if device == "cpu" else "cuda", grant=Grant(None), folder=ROOT, cpus=None,
        memory_gb=workload.resources.memory_gb, run_id="",
    )  # fmt: skip
    return tenant.arguments


if __name__ == "__main__":
    sys.exit(main())
