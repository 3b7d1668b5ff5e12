"""Streamed completions of an OpenAI-compatible server: what is sent, and when which token came.

TTFT (time to first token) counts from the scheduled instant, as latency does; TPOT (time per output token) is the
time between the first and the last token over the number of tokens after the first.
"""

from __future__ import annotations

import json
import random
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workloads.inference.load.http_pool import HttpPool
from workloads.inference.load.http_reply import ReplyReader
from workloads.inference.load.summary import Run, distribution_ms
from workloads.inference.load.target import Target
from workloads.inference.load.wire import OK, Request
from workloads.job import now_s

LOWEST_TOKEN, TOKENS = 10000, 20000  # ids that every common vocabulary has, all of five digits
MARK = (10000, 29999)  # stands where each request has two tokens of its own
INCOMPLETE = "incomplete"  # answered 200, but the stream said error, had no token, or did not say [DONE]


@dataclass(frozen=True)
class Stream:
    """One completion: its scheduled instant, those of its first and last token (s), and its number of tokens."""

    scheduled_s: float
    first_s: float
    last_s: float
    tokens: int

    @property
    def ttft_s(self) -> float:
        """Seconds from the scheduled instant to the first token."""
        return self.first_s - self.scheduled_s

    @property
    def tpot_s(self) -> float | None:
        """Seconds a token after the first; None where there is none."""
        return (self.last_s - self.first_s) / (self.tokens - 1) if self.tokens > 1 else None


class EventReader(ReplyReader):
    """Reads server-sent events as they come."""

    __slots__ = ("_rest", "first_s", "has_failed", "is_done", "last_s", "tokens", "usage")

    def expect(self) -> None:
        """Forget everything and expect the next reply."""
        super().expect()
        self.first_s: float | None = None
        self.last_s: float | None = None
        self.tokens = 0  # events with a token: servers send one a token as a rule
        self.usage: int | None = None  # tokens as the server counts them, if it says
        self.is_done = self.has_failed = False
        self._rest = b""

    def body(self, data: bytes) -> None:
        """Take in a piece of the stream."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._take(line.removeprefix(b"data:").strip())

    def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.is_done = True
            return
        try:
            event = json.loads(data)
            self.has_failed |= "error" in event
            self.usage = (event.get("usage") or {}).get("completion_tokens", self.usage)
            has_token = any(each.get("text") or not each.get("finish_reason") for each in event.get("choices", ()))
        except (ValueError, AttributeError, TypeError):
            self.has_failed = True
            return
        if has_token:
            self.last_s = now_s()
            self.first_s = self.last_s if self.first_s is None else self.first_s
            self.tokens += 1


class CompletionPool(HttpPool):
    """Connections on which completions are streamed; no two prompts begin alike, so that none is cached."""

    def __init__(
        self,
        target: Target,
        message: bytes,
        connections: int,
        timeout_s: float,
        *,
        seed: int,
        streams: list[Stream],
    ) -> None:
        super().__init__(target, message, connections, timeout_s)
        self._before, _, self._after = message.partition(b"%d, %d" % MARK)
        self._streams = streams
        self._number = random.Random(seed).randrange(TOKENS**2)

    def message(self) -> memoryview:
        """Return the next request, of the same length as all others."""
        self._number = (self._number + 1) % TOKENS**2
        first, second = (LOWEST_TOKEN + each for each in divmod(self._number, TOKENS))
        return memoryview(b"%b%d, %d%b" % (self._before, first, second, self._after))

    def reader(self) -> ReplyReader:
        """Return a reader of events."""
        return EventReader()

    def read(self, request: Request, reader: ReplyReader) -> None:
        """Keep the instants of a completion, and its tokens as the work done."""
        assert isinstance(reader, EventReader)
        request.items = reader.tokens if reader.usage is None else reader.usage
        if request.status != OK:
            return
        is_whole = reader.is_done and not reader.has_failed and request.items
        if not is_whole or reader.first_s is None or reader.last_s is None:
            request.status = INCOMPLETE
            return
        self._streams.append(Stream(request.scheduled_s, reader.first_s, reader.last_s, request.items))


def body(options: Namespace) -> str:
    """Return the JSON of a request whose prompt begins with the mark."""
    draw = random.Random(options.seed)
    prompt = [*MARK, *(LOWEST_TOKEN + draw.randrange(TOKENS) for _ in range(options.prompt_length - len(MARK)))]
    asked = {"model": options.model, "prompt": prompt, "max_tokens": options.output_length, "temperature": 0}
    asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(asked | ({"ignore_eos": True} if options.ignore_eos else {}))


def summary(streams: Sequence[Stream], run: Run, options: Namespace) -> dict[str, Any]:
    """Return TTFT and TPOT (ms) of the run's completions, tokens per second, and attainment where SLOs are set.

    Attainment is the share of all requests that kept every SLO on TTFT and TPOT; one that failed kept none.
    """
    own = [each for each in streams if run.start_s <= each.scheduled_s < run.stop_s]
    ended = [each for each in streams if run.start_s <= each.last_s < run.stop_s]
    seconds, count = run.stop_s - run.start_s, len(run.requests)
    promised = options.ttft_slo_ms is not None or options.tpot_slo_ms is not None
    kept = sum(_keeps(each, options) for each in own)
    return {
        "prompt_length": options.prompt_length,
        "output_length": options.output_length,
        "ttft_ms": distribution_ms([each.ttft_s for each in own]),
        "tpot_ms": distribution_ms([each.tpot_s for each in own if each.tpot_s is not None]),
        "tokens_per_s": sum(each.tokens for each in ended) / seconds if seconds > 0 else None,
        "ttft_slo_ms": options.ttft_slo_ms,
        "tpot_slo_ms": options.tpot_slo_ms,
        "token_attainment": kept / count if promised and count else None,
    }


def _keeps(stream: Stream, options: Namespace) -> bool:
    told = ((stream.ttft_s, options.ttft_slo_ms), (stream.tpot_s, options.tpot_slo_ms))
    return all(slo_ms is None or took_s is None or 1000 * took_s <= slo_ms for took_s, slo_ms in told)
