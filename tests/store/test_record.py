import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.errors import RecordError
from bench.plan.mode import MpsEqual
from bench.store.record import RunRecord, Status, TrialRecord, read

RECORD = Path(__file__).parent.parent / "fixtures" / "records" / "trial.json"


def test_the_record_of_a_trial_explains_itself(trial_record):
    """The file came from a simulated run; boot id, kernel and dirty flag were replaced."""
    assert (trial_record.schema_version, trial_record.status, trial_record.simulated) == (1, Status.OK, True)
    assert (trial_record.mode, trial_record.mix, trial_record.block) == (MpsEqual(), "training pair", 1)
    assert trial_record.device["name"].startswith("SIMULATED ")
    assert re.fullmatch("[0-9a-f]{40}", trial_record.software["commit"])
    assert (trial_record.window.settle_s, trial_record.window.stop_s) == (3, 8)
    assert all(evidence["holds"] and evidence["grade"] for evidence in trial_record.evidence)
    assert trial_record.telemetry.sources["power_w"] == "power.draw.instant"
    resnet, bert = trial_record.tenants
    assert (resnet.unit, resnet.parameters["batch_size"], resnet.share) == ("images", 64, "50%")
    assert (resnet.identity["sm_count"], bert.identity["sm_count"]) == (54, 54)
    assert bert.exit_status == 0


def test_a_record_comes_back_as_it_was_written(trial_record, run_record, tmp_path):
    text = trial_record.model_dump_json(indent=2) + "\n"
    assert json.loads(text) == json.loads(RECORD.read_text())
    assert TrialRecord.model_validate_json(text) == trial_record
    (tmp_path / "run.json").write_text(run_record.model_dump_json())
    assert read(tmp_path / "run.json", RunRecord) == run_record


def test_what_is_missing_is_null(trial_record):
    raw = json.loads(trial_record.model_dump_json())
    assert raw["reason"] is raw["tenants"][0]["cpus"] is raw["host"]["sampler_cpu_s"] is None


def test_a_record_cannot_be_changed(trial_record):
    with pytest.raises(ValidationError, match="frozen"):
        trial_record.status = Status.FAILED


@pytest.fixture
def refusal(tmp_path):
    """Return what reading a changed record says."""

    def refused(text, kind=TrialRecord):
        path = tmp_path / "trial.json"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(RecordError) as caught:
            read(path, kind)
        assert str(caught.value).startswith(f"{path}: ")
        return str(caught.value)

    return refused


def changed(**values):
    return json.dumps({**json.loads(RECORD.read_text()), **values})


@pytest.mark.parametrize("version", [0, 2])
def test_another_schema_names_the_version_that_can_read_it(refusal, version):
    assert f"it has schema {version}, this tool reads 1: read it with the version" in refusal(
        changed(schema_version=version)
    )


def test_a_newer_schema_is_not_taken_for_an_unknown_field(refusal):
    assert "it has schema 2" in refusal(changed(schema_version=2, invented=1))


@pytest.mark.parametrize(("field", "value"), [("status", "fine"), ("invented", 1), ("block", "one"), ("mode", {})])
def test_a_record_that_breaks_its_own_schema_names_the_field(refusal, field, value):
    message = refusal(changed(**{field: value}))
    assert f": {field}" in message
    assert "edited by hand, or is damaged" in message


@pytest.mark.parametrize("text", ["", "{", "[]", "null", b"\xff\xfe", RECORD.read_text()[:500]])
def test_a_damaged_file_is_to_be_measured_again(refusal, text):
    assert "remove its folder, and measure it again with --resume" in refusal(text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RecordError, match="No such file or directory; is this the folder of a run"):
        read(tmp_path / "trial.json", TrialRecord)


def test_a_run_is_read_with_the_same_care(refusal):
    assert "run_id: Field required" in refusal('{"schema_version": 1}', RunRecord)
    assert set(RunRecord.model_fields) >= {"seed", "modes", "device_request", "launcher_request", "allow_reset"}
