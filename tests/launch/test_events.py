import json

import numpy as np
import pytest

from bench.launch.events import EventLog, JobEvents, Requests, Steps

HELLO = {"event": "hello", "time_s": 1.0, "protocol": 1, "pid": 5, "libraries": {"torch": "2.7"}}
IDENTITY = {"event": "identity", "time_s": 1.5, "device_name": "board"}
WARMUP = {"end_s": [1.0, 2.0], "duration_s": [0.5, 0.5], "items": [8, 8]}
READY = {"event": "ready", "time_s": 2.0, "warmup": WARMUP, "autotune": None}
STEP = {"event": "step", "time_s": 4.0, "end_s": [3.0, 4.0], "duration_s": [1.0, 1.0], "items": [8, 8]}
REQUEST = {
    "event": "request",
    "time_s": 4.0,
    "scheduled_s": [2.0, 3.0],
    "sent_s": [2.1, None],
    "done_s": [2.5, 3.0],
    "status": ["ok", "overflow"],
    "items": [1, 1],
}
LOAD = {"event": "load", "time_s": 5.0, "planned": 2, "cpu_s": 0.5, "details": {}}
DONE = {"event": "done", "time_s": 5.0, "steps": 2, "items": 16, "peak_memory_mib": None}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def written(path, *events):
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return EventLog(path).read()


def test_a_whole_life(path):
    events = written(path, HELLO, READY, STEP, {**STEP, "end_s": [5.0, 6.0]}, DONE)
    assert events.problems == []
    assert (events.hello["pid"], events.done["items"], events.error) == (5, 16, None)
    assert events.warmup.end_s.tolist() == [1.0, 2.0]
    assert events.steps.end_s.tolist() == [3.0, 4.0, 5.0, 6.0]
    assert events.steps.items.dtype == np.float64
    assert len(events.steps) == 4


def test_a_life_of_requests(path):
    later = {
        **REQUEST,
        "scheduled_s": [3.5, 3.5],
        "sent_s": [3.5, 3.6],
        "done_s": [3.7, 9.0],
        "status": ["ok", "ok"],
    }
    events = written(path, HELLO, READY, REQUEST, later, {**LOAD, "planned": 4}, {**DONE, "requests": 4})
    assert events.problems == []
    assert len(events.requests) == 4
    assert events.requests.status.tolist() == ["ok", "overflow", "ok", "ok"]
    assert np.isnan(events.requests.sent_s).tolist() == [False, True, False, False]
    assert events.requests.scheduled_s.dtype == events.requests.items.dtype == np.float64
    assert events.request_problem(2.0, 4.0) is None, "what was scheduled before the stop may end after it"


@pytest.mark.parametrize(
    ("change", "span", "problem"),
    [
        ({}, (2.5, 4.0), "scheduled outside the common start and stop"),
        ({}, (2.0, 3.0), "scheduled outside the common start and stop"),
        ({"done_s": [3.5, 3.4]}, (2.0, 4.0), "not in the order in which they ended"),
        ({"sent_s": [3.3, 3.2], "done_s": [3.5, 3.6]}, (2.0, 4.0), "not sent in the order"),
    ],
)
def test_requests_that_are_no_load_between_start_and_stop(path, change, span, problem):
    events = written(path, {**REQUEST, "sent_s": [2.1, 3.1], "done_s": [3.4, 3.5], **change}, LOAD)
    assert events.problems == []
    assert problem in events.request_problem(*span)


def test_a_request_that_was_planned_must_be_reported(path):
    events = written(path, REQUEST, {**LOAD, "planned": 3})
    assert events.request_problem(2.0, 4.0) == "3 requests were planned, but 2 were reported"
    assert written(path, REQUEST, {**LOAD, "planned": None}).request_problem(2.0, 4.0) is None
    assert len(Requests.of([])) == 0


def test_a_job_that_has_said_nothing(path):
    assert EventLog(path).read() == JobEvents()
    assert len(JobEvents().warmup) == len(JobEvents().steps) == len(Steps.of([])) == 0


def test_only_what_is_new_is_read(path):
    log = EventLog(path)
    written(path, HELLO)
    assert log.read().hello is not None
    with path.open("a") as file:
        file.write(json.dumps(READY) + "\n")
    assert log.read().problems == []  # a second look at hello would say that it came twice
    assert log.read().ready is not None


def test_a_line_that_is_being_written_waits_for_its_end(path):
    log = EventLog(path)
    line = json.dumps(STEP)
    path.write_text(line[:30])
    assert (len(log.read().steps), log.events.problems) == (0, [])
    path.write_text(line + "\n")
    assert len(log.read().steps) == 2


def test_the_torn_last_line_of_a_job_that_died_is_dropped(path):
    path.write_text(json.dumps(HELLO) + "\n" + json.dumps(STEP) + "\n" + json.dumps(STEP)[:40])
    events = EventLog(path).read()
    assert (len(events.steps), events.problems) == (2, [])


@pytest.mark.parametrize(
    "line", [b"print() of a library", b"[1, 2]", b"null", b"\xff\xfe", b'{"event": ', b"[" * 100_000, b""]
)
def test_a_line_that_is_no_event_is_a_problem(path, line):
    path.write_bytes(line + b"\n" + json.dumps(HELLO).encode() + b"\n")
    events = EventLog(path).read()
    assert events.hello is not None
    assert len(events.problems) == 1
    assert events.problems[0].startswith("not a JSON object: ")
    assert len(events.problems[0]) < 200


@pytest.mark.parametrize(
    "event", [HELLO, READY, LOAD, DONE, {"event": "error", "time_s": 1, "kind": "oom", "message": "m"}]
)
def test_what_is_said_once_must_not_come_twice(path, event):
    other = {**event, "time_s": 99.0}
    events = written(path, event, other)
    assert events.problems == [f"event {event['event']!r} came twice"]
    assert getattr(events, event["event"])["time_s"] == event["time_s"]


@pytest.mark.parametrize("allocatable_mib", [None, 9792])
def test_an_identity_may_tell_what_could_be_allocated(path, allocatable_mib):
    events = written(path, HELLO, {**IDENTITY, "allocatable_mib": allocatable_mib})
    assert events.problems == []
    assert events.identity["allocatable_mib"] == allocatable_mib


def test_another_protocol_is_refused_with_the_way_to_mend_it(path):
    events = written(path, {**HELLO, "protocol": 2})
    assert events.hello is None
    assert events.problems == ["the job speaks protocol 2, this runner 1; copy the newer workloads/job.py"]


def without(event, key):
    return {name: value for name, value in event.items() if name != key}


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ({"event": "steps", "time_s": 1}, "unknown event 'steps'; known: hello"),
        ({"time_s": 1}, "unknown event 'None'"),
        ({"event": ["step"], "time_s": 1}, "unknown event"),
        (without(HELLO, "pid"), "'pid' is missing or of the wrong type"),
        (without(DONE, "time_s"), "'time_s' is missing or of the wrong type"),
        ({**HELLO, "libraries": {"torch": 2}}, "a version in 'libraries' is not text"),
        ({**IDENTITY, "allocatable_mib": "much"}, "'allocatable_mib' is not a whole number"),
        ({**DONE, "peak_memory_mib": "much"}, "'peak_memory_mib' is not a number"),
        ({**STEP, "items": [8]}, "differ in length"),
        ({**STEP, "items": "88"}, "'items' is missing or of the wrong type"),
        ({**STEP, "items": ["8", "8"]}, "'items' is not a list of finite numbers"),
        ({**STEP, "items": [8, None]}, "'items' is not a list of finite numbers"),
        ({**STEP, "items": [[8], [8]]}, "'items' is not a list of finite numbers"),
        ({**STEP, "items": [[8], [8, 9]]}, "'items' is not a list of finite numbers"),
        ({**STEP, "duration_s": [1.0, float("nan")]}, "'duration_s' is not a list of finite numbers"),
        ({**STEP, "end_s": [1.0, float("inf")]}, "'end_s' is not a list of finite numbers"),
        ({**REQUEST, "items": [1]}, "differ in length"),
        ({**REQUEST, "status": ["ok", ""]}, "a status is not a word"),
        ({**REQUEST, "status": ["ok", 503]}, "a status is not a word"),
        ({**REQUEST, "status": ["ok", "ok"]}, "one that was never sent is 'ok'"),
        ({**REQUEST, "done_s": [2.5, None]}, "'done_s' is not a list of finite numbers"),
        ({**REQUEST, "sent_s": ["2.1", None]}, "'sent_s' is not a list of finite numbers"),
        ({**REQUEST, "sent_s": [float("nan"), None]}, "'sent_s' is not a list of finite numbers"),
        ({**REQUEST, "scheduled_s": [2.2, 3.0]}, "sent before it was scheduled"),
        ({**REQUEST, "done_s": [2.05, 3.0]}, "done before it was sent"),
        (without(REQUEST, "sent_s"), "'sent_s' is missing or of the wrong type"),
        ({**LOAD, "planned": "all"}, "'planned' is missing or of the wrong type"),
        ({**READY, "warmup": {}}, "'end_s' is not a list of finite numbers"),
        ({**READY, "warmup": {**WARMUP, "end_s": 1}}, "'end_s' is not a list of finite numbers"),
        ({**READY, "warmup": {**WARMUP, "end_s": []}}, "differ in length"),
    ],
)
def test_an_event_that_breaks_the_protocol_is_a_problem_and_is_not_taken_in(path, event, problem):
    events = written(path, event)
    assert len(events.problems) == 1
    assert problem in events.problems[0]
    assert events == JobEvents(problems=events.problems)
    assert len(events.steps) == len(events.warmup) == 0


def test_the_wait_for_data_is_kept_and_what_is_not_told_stays_missing(path):
    told = {**STEP, "wait_s": [0.25, None]}
    steps = written(path, HELLO, {**READY, "warmup": {**WARMUP, "wait_s": [0.0, 0.5]}}, STEP, told).steps
    np.testing.assert_array_equal(steps.wait_s, [np.nan, np.nan, 0.25, np.nan])
    assert EventLog(path).read().warmup.wait_s.tolist() == [0.0, 0.5]
    assert EventLog(path).read().problems == []


@pytest.mark.parametrize("wait_s", [[0.1], [0.1, 2.0], [-0.1, 0.1], ["0.1", 0.1], [[0.1], 0.1], 0.1])
def test_a_wait_that_is_no_part_of_its_step_is_a_problem(path, wait_s):
    events = written(path, HELLO, READY, {**STEP, "wait_s": wait_s})
    assert "wait" in events.problems[0]
    assert len(events.steps) == 0
