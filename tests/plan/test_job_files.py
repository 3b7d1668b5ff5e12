"""Files that jobs name in a plan: found beside it, checked with everything else, known by their content."""

import json
from hashlib import sha256

import pytest

from bench.errors import PlanError
from bench.plan.inputs import instants_in
from bench.plan.load import load_plan

SERVED = "{{workload: resnet50-server, arrivals: trace, trace: {name}}}"
CODE = {"cell_type": "code", "source": ["1 + 1"]}


@pytest.fixture
def plan_file(tmp_path):
    """Write a plan of these jobs, smoke timing unless told otherwise, and return its path."""

    def write(*jobs, timing="smoke"):
        path = tmp_path / "plans" / "my.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"modes: [mps]\ntiming: {timing}\nmixes: {{a: [{', '.join(jobs)}]}}\n")
        return path

    return write


@pytest.fixture
def problems(plan_file, catalog):
    def find(*jobs, **options):
        with pytest.raises(PlanError) as caught:
            load_plan(plan_file(*jobs, **options), catalog)
        return caught.value.problems

    return find


def trace(folder, text, name="day.csv"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return SERVED.format(name=name)


def test_a_trace_beside_the_plan_is_read_with_it(plan_file, catalog, tmp_path):
    job = trace(tmp_path / "plans", "seconds,who\n0.5,a\n0.5,b\n8.0,a\n")
    (read,) = load_plan(plan_file(job), catalog).mixes[0].jobs
    file = read.files["trace"]
    assert instants_in(file.content) == (0.5, 0.5, 8.0)
    assert file.sha256 == sha256((tmp_path / "plans" / "day.csv").read_bytes()).hexdigest()
    assert read.label == "resnet50-server arrivals=trace trace=day.csv"
    assert "day.csv" in file.copy_name


def test_an_absolute_path_and_the_byte_order_mark_of_a_spreadsheet_are_fine(plan_file, catalog, tmp_path):
    (tmp_path / "elsewhere.csv").write_bytes(b"\xef\xbb\xbf0.25\r\n9\r\n")
    plan = load_plan(plan_file(SERVED.format(name=tmp_path / "elsewhere.csv")), catalog)
    (file,) = plan.files.values()
    assert instants_in(file.content) == (0.25, 9.0)


def test_every_faulty_file_is_told_at_once_with_its_line(problems, tmp_path):
    texts = {
        "words.csv": ("seconds\n1\nsoon\n", "line 3: 'soon' is no instant"),
        "nan.csv": ("1\nnan\n9", "line 2: 'nan' is no instant"),
        "negative.csv": ("-1\n9\n", "line 1: -1 is negative"),
        "unsorted.csv": ("3\n2\n9\n", "line 2: 2 comes after 3; instants are to be in order"),
        "empty.csv": ("", "no instants"),
        "heading.csv": ("seconds\n", "no instants"),
    }
    jobs = [trace(tmp_path / "plans", text, name) for name, (text, _) in texts.items()]
    found = problems(*jobs, SERVED.format(name="none.csv"), "resnet50-trainin")
    expected = [*(what for _, what in texts.values()), "none.csv: no such file", "unknown workload"]
    assert len(found) == len(expected)
    for place, (problem, what) in enumerate(zip(found, expected, strict=True)):
        assert problem.startswith(f"mixes.a[{place}]")
        assert what in problem


def test_what_is_no_text_is_no_trace(problems, tmp_path):
    job = trace(tmp_path / "plans", "")
    (tmp_path / "plans" / "day.csv").write_bytes(b"\xff\xfe\x00")
    (problem,) = problems(job)
    assert problem.startswith("mixes.a[0].trace: ")


@pytest.mark.parametrize(("timing", "least_s"), [("smoke", 8), ("standard", 270), ("paper", 1260)])
def test_a_trace_must_go_on_to_the_end_of_the_longest_trial(
    problems, plan_file, catalog, tmp_path, timing, least_s
):
    job = trace(tmp_path / "plans", f"0\n{least_s - 0.5}\n")
    (problem,) = problems(job, timing=timing)
    assert f"the last instant of day.csv is {least_s - 0.5:g} s, but a trial can last {least_s} s" in problem
    trace(tmp_path / "plans", f"0\n{least_s}\n")
    assert load_plan(plan_file(job, timing=timing), catalog)


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("trace: day.csv", "trace: FILE goes with arrivals: trace"),
        ("trace: day.csv, arrivals: poisson", "trace: FILE goes with arrivals: trace"),
        ("rate: 5, arrivals: trace", "add trace: FILE, in place of rate or load"),
        ("trace: day.csv, arrivals: trace, rate: 5", "takes exactly one of load, rate, trace"),
        ("trace: day.csv, arrivals: trace, load: 0.5", "takes exactly one of load, rate, trace"),
    ],
)
def test_a_trace_has_a_rate_of_its_own(problems, tmp_path, given, what):
    trace(tmp_path / "plans", "0\n9\n")
    (problem,) = problems(f"{{workload: resnet50-server, {given}}}")
    assert what in problem


def test_a_notebook_is_read_unless_it_is_the_one_that_comes_along(plan_file, problems, catalog, tmp_path):
    (tmp_path / "plans").mkdir()
    own = tmp_path / "plans" / "own.ipynb"
    own.write_text(json.dumps({"nbformat": 4, "cells": [CODE]}))
    plan = load_plan(plan_file("jupyter", "{workload: jupyter, notebook: default}"), catalog)
    assert not plan.files
    plan = load_plan(plan_file("{workload: jupyter, notebook: own.ipynb}"), catalog)
    assert plan.files["own.ipynb"].content == own.read_bytes()
    for content in ("print(1)", "[]", '{"cells": 1}', json.dumps({"cells": [{**CODE, "source": " "}]})):
        own.write_text(content)
        (problem,) = problems("{workload: jupyter, notebook: own.ipynb}")
        assert problem.startswith(f"mixes.a[0].notebook: {own}: ")
