"""The inference server as a process: paths, limits, overload, metrics, malformed bodies, its end, and as a job."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bench.launch.events import EventLog

MODULE = "workloads.inference.inference_server"
NEEDED = ("torch", "torchvision", "transformers", "fastapi", "uvicorn", "prometheus_client", "schemathesis")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.workloads,
    pytest.mark.skipif(
        bool(MISSING) and not os.environ.get("BENCH_REQUIRE_WORKLOADS"),
        reason="the extra `workloads` is not installed",
    ),
]
PATIENCE_S = 120.0
TINY = {
    "device": "cpu", "precision": "fp32", "batch_size": 2, "warmup_steps": 1, "image_size": 32, "layers": 1,
    "hidden_size": 32, "attention_heads": 2, "sequence_length": 8, "prompt_length": 8, "output_length": 4,
}  # fmt: skip
LONG = {"model": "gpt2", "output_length": 400, "batch_size": 1}  # a request takes some tenths of a second
JSON = {"Content-Type": "application/json"}


class Connection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(str(self._path))


Reply = tuple[int, dict[str, str], Any]


def ask(path: Path, url: str, body: bytes | str | None = None, headers: dict[str, str] = JSON) -> Reply:
    """Ask once, and return status, headers and what was said."""
    connection = Connection(path)
    try:
        connection.request("GET" if body is None else "POST", url, body, headers)
        reply = connection.getresponse()
        text = reply.read()
        is_json = reply.headers.get_content_type() == "application/json"
        return reply.status, dict(reply.headers), json.loads(text) if is_json else text.decode()
    finally:
        connection.close()


def when(found: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


def is_ready(path: Path) -> bool:
    try:
        return ask(path, "/readyz")[0] == 200
    except OSError:
        return False


Start = Callable[..., tuple[subprocess.Popen[str], Path]]


@pytest.fixture(scope="module")
def command(spell_flags: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Give the command line of a tiny server."""

    def made(**changes: object) -> list[str]:
        return [sys.executable, "-m", MODULE, *spell_flags({**TINY, **changes})]

    return made


@pytest.fixture(scope="module")
def start(root: Path, command: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Give a function that starts a server on a Unix socket and waits until it is ready."""
    running: list[subprocess.Popen[str]] = []

    def started(**changes: object) -> tuple[subprocess.Popen[str], Path]:
        path = tmp_path_factory.mktemp("server") / "socket"
        environment = {name: value for name, value in os.environ.items() if name != "BENCH_JOB_DIR"}
        server = subprocess.Popen(
            command(socket=path, **changes),
            cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append(server)
        when(lambda: is_ready(path) or server.poll() is not None)
        assert server.poll() is None, server.communicate()
        return server, path

    yield started
    for server in running:
        with server:
            server.kill()


@pytest.fixture(scope="module")
def images(start: Start) -> Path:
    """Give the socket of a server of a ResNet."""
    return start(model="resnet18")[1]


@pytest.fixture(scope="module")
def decoder(start: Start) -> Path:
    """Give the socket of a server of a GPT-2."""
    return start(model="gpt2")[1]


def test_an_image_has_the_same_class_every_time(images: Path) -> None:
    answers = [ask(images, "/predict", json.dumps({"sample": number})) for number in (3, 3, 60)]
    assert [status for status, _, _ in answers] == [200, 200, 200]
    labels = [answer["label"] for _, _, answer in answers]
    assert labels[0] == labels[1]
    assert all(0 <= label < 1000 for label in labels)


def test_paths_for_whoever_looks_after_it(images: Path) -> None:
    assert ask(images, "/healthz")[::2] == (200, {"status": "alive"})
    assert ask(images, "/readyz")[::2] == (200, {"status": "ready"})
    assert set(ask(images, "/openapi.json")[2]["paths"]) == {"/predict", "/healthz", "/readyz", "/metrics"}


def test_metrics_count_replies_and_batches(images: Path) -> None:
    before = metrics(images)
    assert ask(images, "/predict", '{"sample": 1}')[0] == 200
    assert ask(images, "/predict", '{"sample": -1}')[0] == 422
    after = metrics(images)
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    assert grown['inference_requests_total{status="200"}'] == 1
    assert grown['inference_requests_total{status="422"}'] == 1
    assert grown["inference_batch_size_count"] == grown["inference_queue_seconds_count"] == 1
    assert grown["inference_batch_seconds_sum"] > 0
    assert after["inference_queue_length"] == 0
    assert after["process_resident_memory_bytes"] > 1e7


def metrics(path: Path) -> dict[str, float]:
    """Return what /metrics says."""
    status, headers, text = ask(path, "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    return {name: float(value) for name, value in re.findall(r"^([^#\s]\S*) (\S+)$", text, re.MULTILINE)}


def test_prompts_of_any_length_are_continued_as_far_as_asked(decoder: Path) -> None:
    def tokens(**query: object) -> list[int]:
        status, _, answer = ask(decoder, "/predict", json.dumps(query))
        assert status == 200, answer
        return answer["tokens"]

    assert len(tokens()) == 4
    whole = tokens(tokens=[5, 6, 7], max_tokens=4)
    assert tokens(tokens=[5, 6, 7], max_tokens=2) == whole[:2]
    with ThreadPoolExecutor(2) as askers:  # perhaps in one batch with a longer prompt: padding changes nothing
        other = askers.submit(tokens, sample=9)
        assert tokens(tokens=[5, 6, 7]) == whole
        assert len(other.result()) == 4


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 60000,
        b"NaN",
        b'{"sample": NaN}',
        b'{"sample": 1e400}',
        b'{"sample": ' + b"9" * 5000 + b"}",
        b'{"\\ud800": "\\udfff"}',
        b'{"sample": "3"}',
        b'{"sample": true}',
        b'{"sample": 64}',
        b'{"tokens": []}',
        b'{"tokens": [1,2,3,4,5,6,7,8,9]}',
        b'{"tokens": [50257]}',
        b'{"max_tokens": 5}',
        b'{"max_tokens": 0}',
        b'{"unknown": 1}',
    ],
    ids=lambda body: repr(body)[:24],
)
def test_what_cannot_be_asked_is_refused(decoder: Path, body: bytes) -> None:
    status, _, answer = ask(decoder, "/predict", body)
    assert status in {400, 422}
    assert answer["detail"]


def test_too_large_a_body_is_refused(decoder: Path) -> None:
    assert ask(decoder, "/predict", b" " * 65536)[0] == 422
    assert ask(decoder, "/predict", b" " * 65537)[0] == 413


def test_a_body_of_unknown_length_is_read_no_further_than_allowed(images: Path) -> None:
    connection = Connection(images)
    connection.request("POST", "/predict", (b" " * 1000 for _ in range(100)), JSON, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_other_methods_and_paths_are_not_there(images: Path) -> None:
    assert ask(images, "/predict")[0] == 405
    assert ask(images, "/nothing")[0] == 404


@pytest.mark.parametrize("model", ["resnet18", "bert-base", "gpt2"])
def test_random_bodies_never_break_it(root: Path, command: Any, model: str) -> None:
    """Schemathesis asks what the server's own OpenAPI allows, and what it does not."""
    words = command(model=model, port=0)
    with subprocess.Popen(words, cwd=root, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            url = server.stderr.readline().removeprefix("listening on ").strip()
            assert url.startswith("http://127.0.0.1:")
            fuzz(url)
        finally:
            server.terminate()
            told = server.communicate()
    assert server.returncode == 0, told


def fuzz(url: str) -> None:
    """Let schemathesis ask, each path some dozens of times; the answers must be those that are documented."""
    from hypothesis import HealthCheck, Phase, settings
    from schemathesis import GenerationMode, openapi
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    port = int(url.rpartition(":")[2])

    def tcp_ready() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    when(tcp_ready)
    schema = openapi.from_url(f"{url}/openapi.json")
    schema.config.generation.update(modes=list(GenerationMode))
    asked: list[int] = []
    for found in schema.get_all_operations():
        operation = found.ok()

        def check(case: Any) -> None:
            reply = case.call()
            asked.append(reply.status_code)
            checks = [not_a_server_error, response_schema_conformance]
            case.validate_response(reply, checks=[*checks, status_code_conformance])

        tries = settings(
            max_examples=60, deadline=None, database=None, derandomize=True,
            phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        operation.as_strategy()
        tries(_given(operation)(check))()
    assert {200, 422} <= set(asked)


def _given(operation: Any) -> Any:
    from hypothesis import given
    from hypothesis import strategies as st
    from schemathesis import GenerationMode

    return given(case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode)))


def test_a_full_queue_answers_503_and_serves_on(start: Start) -> None:
    server, path = start(**LONG, max_queue=2)
    with ThreadPoolExecutor(12) as askers:
        replies = list(askers.map(lambda _: ask(path, "/predict", "{}"), range(12)))
    statuses = [status for status, _, _ in replies]
    assert set(statuses) == {200, 503}
    assert 3 <= statuses.count(200) <= 8
    assert all(headers["retry-after"] == "1" for status, headers, _ in replies if status == 503)
    assert metrics(path)['inference_requests_total{status="503"}'] == statuses.count(503)
    assert ask(path, "/predict", "{}")[0] == 200
    assert server.poll() is None


def test_sigterm_ends_it_after_what_was_accepted(start: Start) -> None:
    server, path = start(**LONG)
    replies: list[Reply] = []
    askers = [threading.Thread(target=lambda: replies.append(ask(path, "/predict", "{}"))) for _ in range(4)]
    for asker in askers:
        asker.start()
    when(lambda: metrics(path)["inference_queue_length"] == 3)
    server.send_signal(signal.SIGTERM)
    for asker in askers:
        asker.join()
    assert [status for status, _, _ in replies] == [200] * 4
    assert server.wait(PATIENCE_S) == 0
    assert not path.exists()
    with pytest.raises(OSError, match="No such file"):
        ask(path, "/healthz")


def test_the_socket_of_a_dead_server_is_taken_over(start: Start, command: Any, root: Path) -> None:
    server, path = start(model="resnet18")
    server.kill()
    server.wait()
    assert path.is_socket()
    with subprocess.Popen(command(model="resnet18", socket=path), cwd=root, stderr=subprocess.DEVNULL) as second:
        when(lambda: is_ready(path))
        second.terminate()
    assert second.returncode == 0


def test_as_a_job_with_the_load_generator_as_its_client(start_tenant: Any, root: Path, command: Any) -> None:
    """Server and client are tenants with one span; the socket lies in the server's folder."""
    server = start_tenant(command(model="bert-base", batch_size=4, max_delay_ms=5), cwd=root)
    server.await_event("ready")
    where = server.folder / "server.sock"
    words = ["--url", f"unix:{where}:/predict", "--json-body", "{}", "--rate", "60", "--connections", "16"]
    client = start_tenant([sys.executable, "-m", "workloads.inference.load_test", *words], cwd=root)
    client.await_event("ready")
    start_s, stop_s = server.release(in_s=0.3, for_s=1.5)
    (client.folder / "start.json").write_text((server.folder / "start.json").read_text())
    assert (client.finish(), server.finish()) == (0, 0)

    assert server.names() == ["hello", "identity", "ready", "step", "done"]
    assert sorted(set(server.await_event("ready")["warmup"]["items"])) == [1, 2, 3, 4]
    ends_s, durations_s, items = server.steps()
    assert ends_s[0] - durations_s[0] >= start_s
    asked = EventLog(client.folder / "events.jsonl").read()
    assert asked.request_problem(start_s, stop_s) is None
    assert set(asked.requests.status) == {"ok"}
    assert sum(items) == len(asked.requests) > 40
    assert set(items) <= {1, 2, 3, 4}
    told = EventLog(server.folder / "events.jsonl").read()
    assert told.problems == []
    assert told.done["items"] == sum(items)
    assert not where.exists()


def test_as_a_job_it_ends_at_the_stop_when_nobody_is_connected(
    start_tenant: Any, root: Path, command: Any
) -> None:
    server = start_tenant(command(model="resnet18"), cwd=root)
    server.await_event("ready")
    server.release(in_s=0.0, for_s=0.2)
    assert server.finish() == 0
    assert server.names() == ["hello", "identity", "ready", "done"]


def test_as_a_job_it_waits_for_connected_clients_no_longer_than_told(
    start_tenant: Any, root: Path, command: Any
) -> None:
    server = start_tenant(command(model="resnet18", linger_s=0.5), cwd=root)
    server.await_event("ready")
    connection = Connection(server.folder / "server.sock")
    connection.connect()
    _, stop_s = server.release(in_s=0.0, for_s=0.1)
    assert server.finish() == 0
    assert server.events()[-1]["time_s"] >= stop_s + 0.5
    connection.close()
