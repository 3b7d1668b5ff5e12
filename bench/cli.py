"""The verbs of `python -m bench`. Set-up errors are printed plainly, without a trace.

Imports of the other rooms wait until a verb runs, so that `--help` answers at once.
"""

import argparse
import gc
import os
import signal
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

from bench.verbs import EXIT_FAILURES, EXIT_INTERRUPTED, EXIT_OK, EXIT_REFUSED

# Searching for cycles among all that the libraries hold took a quarter of a report's time; look for them rarely.
GC_THRESHOLDS = 100_000, 50, 50
MODULE = "python -m bench"
RUN_EXAMPLES = """\
examples:
  run_experiments.py --mode mps                      MPS against taking turns; simulated where there is no GPU
  run_experiments.py --mode all --device cuda:0      every way of sharing GPU 0
  run_experiments.py --plan my_plan.yaml --dry-run   the schedule of your own plan, and how long it takes
  run_experiments.py --resume results/RUN            go on with a run that was interrupted
"""


class _Parser(argparse.ArgumentParser):
    """A parser that tells the nearest flag, and the usage of the verb that was meant."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = get_close_matches(unknown[0], self._option_string_actions, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return options, unknown


def main(arguments: Sequence[str] | None = None, program: str = MODULE) -> int:
    """Run one verb and return the exit code: 0 all ok, 1 some failed, 2 refused, 130 interrupted."""
    options = _parser(program).parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's way of saying Ctrl-C
    try:
        code = _conduct(options)
        sys.stdout.flush()
        return code
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in ("bench", "workloads"):
            raise
        print(
            f"the Python package {error.name} is missing; install with:\n  {_install_command()}", file=sys.stderr
        )
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (
        BrokenPipeError
    ):  # the reader, `head` perhaps, has seen enough; nor must the interpreter's last flush fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _conduct(options: argparse.Namespace) -> int:
    gc.set_threshold(*GC_THRESHOLDS)
    from bench.errors import BenchError, SetupError

    verb: Callable[[argparse.Namespace], int] = options.verb
    try:
        return verb(options)
    except SetupError as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    except BenchError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILURES


def _install_command() -> str:
    return f"{sys.executable} -m pip install -e ."


def _run(options: argparse.Namespace) -> int:
    from bench.verbs import run

    return run.resume(options) if options.resume else run.start(options)


def _report(options: argparse.Namespace) -> int:
    from bench.verbs import report

    return report.report(options)


def _compare(options: argparse.Namespace) -> int:
    from bench.verbs import compare

    return compare.compare(options)


def _mode(options: argparse.Namespace) -> int:
    from bench.verbs import mode

    return mode.mode(options)


def _doctor(options: argparse.Namespace) -> int:
    from bench.verbs import doctor

    return doctor.doctor(options)


def _selftest(options: argparse.Namespace) -> int:
    from bench.verbs import selftest

    return selftest.selftest(options)


def _parser(program: str) -> _Parser:
    parser = _Parser(
        prog=program, description="Measure which way of sharing one NVIDIA GPU serves a mix of jobs best."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add_run(verbs, f"{program} run" if program == MODULE else program)
    report = verbs.add_parser("report", help="rebuild the report of a run from its records")
    report.add_argument("run", metavar="RUN", help="the folder of a run, under results/")
    report.set_defaults(verb=_report)
    compare = verbs.add_parser(
        "compare", help="tell whether a second run reproduces a first, and what differs between them",
        description="Hold run B against run A (before and after, two GPUs, two drivers): equivalence within 5 %, "
        "10 % for tails, quantity by quantity. Nothing is pooled; what differs between the runs is named.",
    )  # fmt: skip
    compare.add_argument("a", metavar="RUN_A", help="the folder of the run that came first")
    compare.add_argument("b", metavar="RUN_B", help="the folder of the run that is held against it")
    compare.add_argument(
        "--output", metavar="DIR", default=None,
        help="where the folder compare-A-B is written (default: beside RUN_A)",
    )  # fmt: skip
    compare.set_defaults(verb=_compare)
    doctor = verbs.add_parser("doctor", help="tell what this machine can measure, and what would change that")
    doctor.add_argument("--json", action="store_true", help="one JSON document instead of text")
    _add_device(doctor)
    doctor.set_defaults(verb=_doctor)
    _add_selftest(verbs)
    mode = verbs.add_parser("mode", help="look at a device's sharing mode, or put back what a killed run left")
    mode.add_argument("action", choices=["status", "restore"])
    _add_device(mode)
    mode.add_argument("--allow-reset", action="store_true", help="allow a GPU reset where restoring needs one")
    mode.set_defaults(verb=_mode)
    return parser


def _add_run(verbs: "argparse._SubParsersAction[_Parser]", program: str) -> None:
    run = verbs.add_parser(
        "run", prog=program, help="measure a plan", description="Measure a plan and write a report.",
        epilog=RUN_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    run.add_argument(
        "--mode", action="append", metavar="MODE", default=[],
        help="exclusive, time-slicing, mps, mps-equal, mps-partitions, mig, mig-mps, cpu-shared or all (the four "
        "common ones); repeat it, or give a comma list (default: the plan's modes); as-found, alone, takes the "
        "device as a cluster gave it",
    )  # fmt: skip
    run.add_argument(
        "--plan",
        metavar="NAME_OR_PATH",
        default=None,
        help="smoke, standard, paper, scaling, switching, or a YAML file (default: standard)",
    )
    _add_device(run)
    run.add_argument(
        "--launcher",
        choices=["auto", "docker", "process"],
        default=None,
        help="how jobs are started (default: auto)",
    )
    run.add_argument("--results", metavar="DIR", default=None, help="where runs are kept (default: results/)")
    run.add_argument("--resume", metavar="RUN_DIR", help="go on with this run; everything else is taken from it")
    run.add_argument(
        "--seed", type=int, default=None, help="seed of the randomised order (default: drawn, and stored)"
    )
    run.add_argument("--allow-reset", action="store_true", help="allow the GPU reset that MIG needs on Ampere")
    run.add_argument(
        "--lock-clocks", metavar="MHZ", nargs="?", const="auto", type=megahertz, default=None,
        help="lock the SM clock, as root; without MHZ a short trial first finds what the power cap sustains",
    )  # fmt: skip
    run.add_argument(
        "--dry-run",
        action="store_true",
        help="print the schedule, how long it takes and what it can show; touch nothing",
    )
    run.add_argument("--quiet", action="store_true", help="no progress bar")
    run.set_defaults(verb=_run)


def _add_selftest(verbs: "argparse._SubParsersAction[_Parser]") -> None:
    selftest = verbs.add_parser(
        "selftest", help="prove the modes that need no switching, and keep the evidence",
        description="Run two equal training jobs under each mode that leaves the GPU's settings alone (compute "
        "mode, MIG, clocks, power), prove each mode, and keep the proof with all that the driver printed.",
    )  # fmt: skip
    _add_device(selftest)
    selftest.add_argument(
        "--output", metavar="DIR", default=None, help="where the evidence is kept (default: results/reference)"
    )
    selftest.add_argument(
        "--within", metavar="SECONDS", type=float, default=480.0,
        help="end what still runs after this long, keep what is there (default: 480; ending takes up to a minute)",
    )  # fmt: skip
    selftest.add_argument("--quiet", action="store_true", help="no progress bar")
    selftest.set_defaults(verb=_selftest)


def megahertz(text: str) -> "int | str":
    """Read MHZ of `--lock-clocks`; argparse names this function where it is no number."""
    return text if text == "auto" else int(text)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", metavar="DEVICE", default=None,
        help="auto, cuda[:INDEX_OR_UUID] (of a GPU, or of a MIG device for --mode as-found), cpu or "
        "simulated[:MODEL] (default: auto, which simulates only where "
        "there is no NVIDIA device at all)",
    )  # fmt: skip
