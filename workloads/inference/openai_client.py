"""Load any OpenAI-compatible server (vLLM's, for instance) with streamed completions: TTFT, TPOT, tokens a second.

  openai_client --url http://127.0.0.1:8000/v1/completions --model NAME --rate 4 --ttft-slo-ms 200 --tpot-slo-ms 50

Scenarios, arrivals, connections and gates are those of `load_test`; see its --help. Prompts are random token ids
of --prompt-length, no two alike at the beginning, and --output-length tokens are asked for; `ignore_eos`, which
vLLM knows, forbids to end earlier, and --no-ignore-eos leaves it away for a server that refuses it.

TTFT counts from the scheduled instant. A reply is good when its stream says [DONE] after at least one token.
In a launcher's job folder (BENCH_JOB_DIR) it speaks the job protocol: a request's items are its tokens, and
TTFT and TPOT are details of the load.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from workloads.inference.load import completions
from workloads.inference.load.client import Client
from workloads.inference.load.options import checked, option_parser
from workloads.inference.load.report import distribution_text, summary_text
from workloads.inference.load.summary import Run
from workloads.inference.load_test import summarised, tell
from workloads.job import JOB_DIR_VARIABLE, Job
from workloads.options import positive


def parse(arguments: Sequence[str] | None) -> Namespace:
    """Return the options; exits with a message where they do not fit together."""
    parser = option_parser(__doc__)
    parser.prog = "python -m workloads.inference.openai_client"
    _add_completion(parser)
    options = checked(parser, arguments)
    if options.body or options.json_body or options.search_max_rate:
        parser.error("--body, --json-body and --search-max-rate are for load_test: completions are made here")
    if options.prompt_length < len(completions.MARK):
        parser.error(f"--prompt-length must be at least {len(completions.MARK)}: by these, prompts differ")
    options.json_body = completions.body(options)
    return options


def _add_completion(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("completions")
    group.add_argument("--model", required=True, help="name under which the server knows its model")
    group.add_argument("--prompt-length", type=positive, default=128, help="tokens a prompt (128)")
    group.add_argument("--output-length", type=positive, default=64, help="tokens asked for (64)")
    group.add_argument("--ignore-eos", action=BooleanOptionalAction, default=True, help="forbid an early end")
    group.add_argument("--ttft-slo-ms", type=float, help="time to first token that is promised, in ms")
    group.add_argument("--tpot-slo-ms", type=float, help="time per output token that is promised, in ms")


def alone(options: Namespace) -> None:
    """Run the scenario once and tell what came of it."""
    streams: list[completions.Stream] = []
    with closing(_client(options, Path.cwd(), streams)) as client:
        client.warm_up()
        run = client.alone()
    _tell(run, completions.summary(streams, run, options), options)
    if options.requests:
        run.requests.write_csv(options.requests)


def as_tenant(options: Namespace, folder: Path) -> None:
    """Be a job: requests go into the events, TTFT and TPOT into the details of the load, all into the log."""
    streams: list[completions.Stream] = []
    with Job.open() as job, closing(_client(options, folder, streams)) as client:
        job.identity(device_name=f"{os.uname().machine} host")
        client.warm_up(job)
        run = client.as_tenant(job, lambda run: completions.summary(streams, run, options))
        _tell(run, completions.summary(streams, run, options), options)


def _client(options: Namespace, folder: Path, streams: list[completions.Stream]) -> Client:
    return Client(options, folder, partial(completions.CompletionPool, seed=options.seed, streams=streams))


def _tell(run: Run, tokens: dict[str, Any], options: Namespace) -> None:
    summary = summarised(run, options)
    tell(summary_text(summary) + _text(tokens), summary | tokens, options)


def _text(tokens: Mapping[str, Any]) -> str:
    """Return what is told of tokens, as lines like those of the summary."""
    rate, share = tokens["tokens_per_s"], tokens["token_attainment"]
    lines = [
        f"  tokens      {'n.a.' if rate is None else f'{rate:.2f}/s'}",
        f"  TTFT        {distribution_text(tokens['ttft_ms'])}",
        f"  TPOT        {distribution_text(tokens['tpot_ms'])}",
    ]
    promise = [] if share is None else [f"  SLO         {100 * share:.3f} % within those on TTFT and TPOT"]
    return "\n".join([*lines, *promise]) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    options = parse(arguments)
    folder = os.environ.get(JOB_DIR_VARIABLE)
    if folder:
        as_tenant(options, Path(folder))
    else:
        alone(options)


if __name__ == "__main__":
    main()
