"""Generate text offline with a decoder-only model (GPT-2's size unless told otherwise); one item is one token.

Each prompt of a batch has --prompt-length random tokens, and --output-length more are generated, greedily, with a
KV cache. A generation is reported as two steps, because the two parts use a GPU in different ways:

  prefill   reads the prompts and gives the first token of each: --batch-size items; its duration is the TTFT
            (time to first token)
  decode    gives the other tokens, one a pass; its duration over (--output-length - 1) is the TPOT (time per
            output token)

So both can be read from the recorded steps, generation by generation. Weights are random, in the chosen precision.
"""

from __future__ import annotations

import statistics
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

from workloads import models
from workloads.inference.generation import Generation, decoder
from workloads.job import Job, now_s
from workloads.options import add_generation_options, add_transformer_options, workload_parser
from workloads.torch_device import TorchDevice, installed_libraries


def option_parser() -> ArgumentParser:
    """Return the program's command line."""
    parser = workload_parser(__doc__, batch_size=8)
    parser.set_defaults(warmup_steps=5)
    add_generation_options(parser)
    add_transformer_options(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job."""
    parser = option_parser()
    options = parser.parse_args(arguments)
    if options.output_length < 2:
        parser.error("--output-length must be at least 2: the first token is prefill, the others are decode")
    with Job.open(["torch", "transformers"], options.seconds) as job, installed_libraries():
        device = TorchDevice(options)
        job.identity(**device.identity())
        offline = Offline(options, device)
        for _ in job.warmup(options.warmup_steps, options.batch_size * options.output_length, autotune=False):
            offline.generate()
        offline.work(job)
        job.peak_memory_mib = device.peak_memory_mib()
        sys.stdout.write(offline.told())


class Offline:
    """One batch of prompts that is continued again and again."""

    def __init__(self, options: Namespace, device: TorchDevice) -> None:
        self._device = device
        self._batch_size: int = options.batch_size
        self._decoded: int = options.output_length - 1  # of each prompt
        self._model = decoder(options, device)
        shape = (options.batch_size, options.prompt_length)
        self._prompts = models.integers(models.GPT2_VOCABULARY, shape, device)
        self._ttft_s: list[float] = []
        self._tpot_s: list[float] = []

    def generate(self, note: Callable[[float, float, int], None] = lambda *_: None) -> tuple[float, float]:
        """Generate one batch and return what prefill and decode took (s); `note` takes each as it ends."""
        generation, began_s = Generation(self._model, self._prompts), now_s()
        generation.prefill()
        self._device.synchronize()
        first_s = now_s()
        note(first_s, first_s - began_s, self._batch_size)
        generation.decode(self._decoded)
        self._device.synchronize()
        ended_s = now_s()
        note(ended_s, ended_s - first_s, self._batch_size * self._decoded)
        return first_s - began_s, ended_s - first_s

    def work(self, job: Job) -> None:
        """Generate from the common start until past the stop."""
        start_s, stop_s = job.span()
        time.sleep(max(start_s - now_s(), 0.0))
        while now_s() < stop_s and not job.asked_to_stop():
            ttft_s, decode_s = self.generate(job.step)
            self._ttft_s.append(ttft_s)
            self._tpot_s.append(decode_s / self._decoded)

    def told(self) -> str:
        """Return the medians as a line of text; none without a generation."""
        if not self._ttft_s:
            return ""
        ttft_ms, tpot_ms = (1000 * statistics.median(each) for each in (self._ttft_s, self._tpot_s))
        return f"{len(self._ttft_s)} generations, median TTFT {ttft_ms:.2f} ms, median TPOT {tpot_ms:.3f} ms\n"


if __name__ == "__main__":
    main()
