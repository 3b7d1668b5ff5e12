"""Streamed completions, against a server that speaks as OpenAI's does."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.launch.events import EventLog
from workloads.inference.load.completions import EventReader

MODULE = "workloads.inference.openai_client"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
QUICK = {"seconds": 1, "settle-s": 0.1, "timeout-s": 5, "startup-s": 5, "warmup-requests": 2, "model": "tiny"}
FIRST_S, NEXT_S = 0.05, 0.01


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(content: Any) -> bytes:
    return b"data: " + (content if isinstance(content, bytes) else json.dumps(content).encode()) + b"\n\n"


def token(text: str = "a", finish: str | None = None) -> bytes:
    return event({"choices": [{"text": text, "finish_reason": finish}]})


class StreamingServer:
    """Answers with as many tokens as asked for, at a steady pace; keeps the bodies."""

    def __init__(self, ending: bytes = event(b"[DONE]"), *, told: bool = True, stops_after: int = 1000) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._ending = ending
        self._told = told
        self._stops_after = stops_after

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
            self.bodies.append(json.loads(await reader.readexactly(int(length.split(b":")[1]))))
            await self._stream(writer, min(self.bodies[-1]["max_tokens"], self._stops_after))
        writer.close()

    async def _stream(self, writer: asyncio.StreamWriter, count: int) -> None:
        writer.write(HEAD)
        for number in range(count):
            await asyncio.sleep(NEXT_S if number else FIRST_S)
            writer.write(chunk(token()))
        writer.write(chunk(token("", "length")))
        if self._told:
            writer.write(chunk(event({"choices": [], "usage": {"completion_tokens": count}})))
        writer.write(chunk(self._ending) + b"0\r\n\r\n")


def command(url: str, *words: str, **options: object) -> list[str]:
    flags = {**QUICK, **{name.replace("_", "-"): value for name, value in options.items()}}
    spelled = [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    return [sys.executable, "-S", "-m", MODULE, "--url", url, *words, *spelled]


@pytest.fixture
def run_alone(root: Path, tmp_path: Path) -> Callable[..., Any]:
    """Give a function that runs the program, without any installed package, and returns its words and summary."""

    def run(url: str, *words: str, **options: object) -> tuple[Any, dict[str, Any]]:
        file = tmp_path / "summary.json"
        environment = {name: value for name, value in os.environ.items() if name != "BENCH_JOB_DIR"}
        result = subprocess.run(
            command(url, *words, json=file, **options),
            cwd=root, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return result, json.loads(file.read_text()) if file.exists() else {}

    return run


@pytest.mark.parametrize("told", [True, False], ids=["usage told", "events counted"])
def test_an_open_loop(serve: Any, run_alone: Any, told: bool) -> None:
    server = StreamingServer(told=told)
    options = {"prompt_length": 5, "output_length": 8, "arrivals": "constant", "rate": 20}
    result, summary = run_alone(serve(server), ttft_slo_ms=5000, tpot_slo_ms=5000, **options)
    assert result.returncode == 0, result.stderr
    assert summary["statuses"] == {"ok": 20}
    assert summary["latency_ms"]["mean"] >= summary["ttft_ms"]["mean"] >= FIRST_S * 1000
    assert summary["tpot_ms"]["mean"] >= NEXT_S * 1000
    gap_ms = summary["latency_ms"]["mean"] - summary["ttft_ms"]["mean"] - 7 * summary["tpot_ms"]["mean"]
    assert 0 <= gap_ms < 50  # between the last token and the end of the reply
    assert 0 < summary["tokens_per_s"] <= 8 * 21
    assert summary["token_attainment"] == 1.0
    assert "TTFT" in result.stdout
    assert "TPOT" in result.stdout
    asked = server.bodies[-1]
    assert (asked["model"], asked["max_tokens"], asked["stream"]) == ("tiny", 8, True)
    assert asked["ignore_eos"] is True
    prompts = [body["prompt"] for body in server.bodies]
    assert {len(prompt) for prompt in prompts} == {5}
    assert len({tuple(prompt[:2]) for prompt in prompts}) == len(prompts)


def test_an_slo_that_is_missed(serve: Any, run_alone: Any) -> None:
    _, summary = run_alone(serve(StreamingServer()), rate=10, output_length=3, ttft_slo_ms=FIRST_S * 500)
    assert summary["token_attainment"] == 0.0


def test_a_closed_loop_with_a_server_that_ends_early(serve: Any, run_alone: Any) -> None:
    server = StreamingServer(stops_after=1)
    options = {"scenario": "closed", "concurrency": 2, "output_length": 8}
    _, summary = run_alone(serve(server), "--no-ignore-eos", **options)
    assert set(summary["statuses"]) == {"ok"}
    assert summary["tpot_ms"]["mean"] is None  # no token after the first
    assert summary["token_attainment"] is None  # nothing was promised
    assert "ignore_eos" not in server.bodies[-1]


@pytest.mark.parametrize(
    "ending",
    [b"", event({"error": {"message": "out of memory"}}) + event(b"[DONE]"), event(b"{") + event(b"[DONE]")],
    ids=["not done", "error", "not JSON"],
)
def test_a_stream_that_does_not_end_well_is_not_ok(serve: Any, run_alone: Any, ending: bytes) -> None:
    result, _ = run_alone(serve(StreamingServer(ending)), startup_s=0.5, output_length=2)
    assert result.returncode == 1
    assert "incomplete" in result.stderr


def test_a_life_as_a_job(serve: Any, start_tenant: Any, root: Path) -> None:
    words = command("unix:server.sock:/v1/completions", "--device", "cpu", rate=20, output_length=4)
    tenant = start_tenant(words, cwd=root)
    serve(StreamingServer(), "job-0/server.sock")
    tenant.await_event("ready")
    start_s, stop_s = tenant.release(in_s=0.3, for_s=1.0)
    assert tenant.finish() == 0
    assert tenant.names() == ["hello", "identity", "ready", "request", "load", "done"]
    events = EventLog(tenant.folder / "events.jsonl").read()
    assert events.problems == []
    assert events.request_problem(start_s, stop_s) is None
    assert set(events.requests.items) == {4}
    assert events.done["items"] == 4 * len(events.requests)
    details = events.load["details"]
    assert details["ttft_ms"]["mean"] >= FIRST_S * 1000
    assert details["tpot_ms"]["mean"] >= NEXT_S * 1000


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--json-body", "{}"], "--json-body"),
        (["--search-max-rate", "--slo-ms", "5"], "--search-max-rate"),
        (["--prompt-length", "1"], "--prompt-length"),
    ],
)
def test_impossible_wishes_are_refused(root: Path, words: list[str], why: str) -> None:
    program = [sys.executable, "-S", "-m", MODULE, "--url", "unix:s:/", "--model", "m", *words]
    result = subprocess.run(program, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 2
    assert why in result.stderr


@pytest.mark.parametrize("piece_bytes", [1, 7, 10_000])
def test_events_are_read_in_whatever_pieces_they_come(piece_bytes: int) -> None:
    events = token("b") + event({"choices": [], "usage": {"completion_tokens": 2}}) + b": comment\n\n"
    middle = len(events) // 2  # a chunk may end in the middle of an event
    stream = HEAD + chunk(token()) + chunk(events[:middle]) + chunk(events[middle:] + event(b"[DONE]"))
    stream += b"0\r\n\r\n"
    reader = EventReader()
    for place in range(0, len(stream), piece_bytes):
        is_whole = reader.feed(stream[place : place + piece_bytes])
    assert is_whole
    assert (reader.tokens, reader.usage, reader.is_done, reader.has_failed) == (2, 2, True, False)
