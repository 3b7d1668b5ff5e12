import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from synthetic import Recipe, make_run

from bench.analysis.summary import analyse
from bench.errors import RecordError
from bench.plan.schedule import Trial


def edit(path: Path, change: Mapping[str, Any]) -> None:
    record = json.loads(path.read_text())
    for key, value in change.items():
        if isinstance(value, dict):
            record[key].update(value)
        else:
            record[key] = value
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"device": {"uuid": "GPU-other"}}, ("device.uuid", "GPU-simulated", "GPU-other")),
        ({"device": {"driver_version": "590.1"}}, ("device.driver_version", "580.1", "590.1")),
        ({"device": {"sm_clock_lock_mhz": 1395}}, ("device.sm_clock_lock_mhz", "None", "1395")),
        ({"software": {"commit": "fffffff"}}, ("software.commit", "abc1234", "fffffff")),
        ({"simulated": False}, ("simulated", "True", "False")),
    ],
)
def test_records_that_differ_are_refused_by_the_name_of_the_field(
    tmp_path: Path, change: Mapping[str, Any], words: tuple[str, ...]
) -> None:
    run = make_run(tmp_path)
    edit(sorted(run.trials_folder.glob("*/trial.json"))[-1], change)
    with pytest.raises(RecordError) as caught:
        analyse(run)
    assert all(word in str(caught.value) for word in words)


def test_images_are_compared_for_each_workload(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    file = sorted(run.trials_folder.glob("*/trial.json"))[-1]
    record = json.loads(file.read_text())
    for tenant in record["tenants"]:
        tenant["provenance"] = {"digest": "sha256:other"}
    file.write_text(json.dumps(record))
    for other in run.trials_folder.glob("*/trial.json"):
        if other != file:
            record = json.loads(other.read_text())
            for tenant in record["tenants"]:
                tenant["provenance"] = {"digest": "sha256:one"}
            other.write_text(json.dumps(record))
    with pytest.raises(RecordError, match=r"image\.digest is 'sha256:one'"):
        analyse(run)


def test_a_software_that_changes_on_resume_is_refused(tmp_path: Path) -> None:
    def software(trial: Trial) -> Mapping[str, Any]:
        return {"commit": "abc1234", "dirty": trial.block > 3}

    with pytest.raises(RecordError, match=r"software\.dirty"):
        analyse(make_run(tmp_path, Recipe(software=software)))
