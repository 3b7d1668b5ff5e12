import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from bench.telemetry.parse import FIELDS_BY_COLUMN, SAMPLED_FIELDS, parse_stream

SHARED = Path(os.environ.get("BENCH_SHARED", Path(__file__).parents[3] / "shared"))
SAMPLES = SHARED / "reference" / "nvidia_samples"

HEADER = ", ".join(SAMPLED_FIELDS)
ROW = "97, 40, 11125, 53, 433.78, 447.35, 440.00, 700.00, 1980, 2619, P0, 0x0000000000000004, 17, 0, 0, 0"


def stamped(lines, period_s=0.2):
    return [(100 + period_s * number, line) for number, line in enumerate(lines)]


def test_each_column_comes_from_its_field():
    telemetry = parse_stream(stamped([HEADER, ROW]), 0.2)
    (row,) = telemetry.samples.to_dict("records")
    assert row == {
        "time_s": 100.2,
        "utilization_gpu_pct": 97,
        "utilization_memory_pct": 40,
        "memory_used_mib": 11125,
        "temperature_c": 53,
        "power_w": 433.78,
        "power_limit_w": 700,
        "sm_clock_mhz": 1980,
        "memory_clock_mhz": 2619,
        "pstate": "P0",
        "event_reasons": 4,
        "sw_power_cap_us": 17,
        "sw_thermal_slowdown_us": 0,
        "hw_thermal_slowdown_us": 0,
        "hw_power_brake_us": 0,
    }
    assert telemetry.sources["power_w"] == "power.draw.instant"
    assert (telemetry.reasons, telemetry.remarks) == ({}, ())


def test_columns_are_found_by_name_in_any_order():
    forwards = parse_stream(stamped([HEADER, ROW])).samples
    backwards = [", ".join(reversed(line.split(", "))) for line in (HEADER, ROW)]
    assert parse_stream(stamped(backwards)).samples.equals(forwards)


def test_power_falls_back_to_the_average_and_says_so():
    telemetry = parse_stream(stamped([HEADER, ROW.replace("433.78", "[N/A]")]))
    assert telemetry.samples["power_w"].tolist() == [447.35]
    assert telemetry.sources["power_w"] == "power.draw.average"


def test_old_names_of_the_event_reasons():
    telemetry = parse_stream(stamped(["clocks_throttle_reasons.active", "0x0000000000000048"]))
    assert telemetry.samples["event_reasons"].tolist() == [0x48]


def test_masks_with_the_highest_bit_are_read_exactly():
    telemetry = parse_stream(stamped(["clocks_event_reasons.active", "0x8000000000000001", "[N/A]"]))
    assert telemetry.samples["event_reasons"][0] == 2**63 + 1
    assert telemetry.samples["event_reasons"].isna().tolist() == [False, True]


def test_what_is_never_told_is_missing_with_the_devices_words():
    telemetry = parse_stream(stamped([HEADER, ROW.replace("97, 40", "[N/A], [Insufficient Permissions]")] * 1))
    assert telemetry.samples["utilization_gpu_pct"].isna().all()
    assert telemetry.reasons == {
        "utilization_gpu_pct": "[N/A]: not available on this device",
        "utilization_memory_pct": "[Insufficient Permissions]: the user may not read it",
    }


def test_fields_that_were_not_asked_for_have_a_reason(excerpt):
    telemetry = parse_stream(stamped(excerpt("stream_a100.csv").splitlines()))
    assert telemetry.samples["power_w"].tolist() == [78.66, 78.66, 78.66]
    assert telemetry.reasons["memory_used_mib"] == "the driver does not know this field"
    assert set(telemetry.samples.columns) == {"time_s", *FIELDS_BY_COLUMN}


def test_units_and_unheard_of_tokens_cost_only_their_own_cell():
    header = "power.draw [W], clocks.current.sm [MHz]"
    lines = [header, "46.19 W, 1410 MHz", "[Gone Fishing], 1395 MHz", "47.00 W, [Unknown Error]"]
    samples = parse_stream(stamped(lines)).samples
    assert samples["power_w"].fillna(-1).tolist() == [46.19, -1, 47.0]
    assert samples["sm_clock_mhz"].fillna(-1).tolist() == [1410, 1395, -1]


def test_text_among_the_rows_is_quoted_and_shifts_no_stamp():
    message = "Unable to determine the device handle for GPU0000:02:00.0: Unknown Error"
    telemetry = parse_stream(stamped([HEADER, ROW, message, ROW, "broken, row"]))
    assert telemetry.samples["time_s"].round(1).tolist() == [100.2, 100.6]
    assert telemetry.remarks == (f"not a row: {message}", "not a row: broken, row")


def test_many_strange_lines_are_counted():
    telemetry = parse_stream(stamped([HEADER, *["NVRM: oops"] * 10, ROW]))
    assert telemetry.remarks[-1] == "7 more lines that are no rows"


def test_a_column_that_falls_silent_is_remarked(excerpt):
    header = "utilization.gpu [%], utilization.encoder [%], utilization.decoder [%]"
    telemetry = parse_stream(stamped([header, *excerpt("loop_unknown_error.csv").splitlines()]))
    assert telemetry.samples["utilization_gpu_pct"].notna().tolist() == [True, False, False]
    assert telemetry.remarks == ("utilization_gpu_pct: no value after sample 1 of 3",)


def test_a_power_that_never_moves_is_remarked(excerpt):
    header, first, *_ = excerpt("frozen_power.csv").splitlines()
    telemetry = parse_stream(stamped([header, *[first] * 60]))
    assert telemetry.remarks == ("power_w: 46.19 in all 60 samples over 12 s; the sensor may be frozen",)
    assert telemetry.reasons["sm_clock_mhz"] == "[Unknown Error]: the driver failed to read it"
    moving = [first.replace("46.19", f"46.{number}") for number in range(10, 70)]
    assert parse_stream(stamped([header, *moving])).remarks == ()


def test_period_and_longest_gap():
    times_s = [0, 1, 1.2, 1.4, 1.6, 2.6, 2.8]
    telemetry = parse_stream([(time_s, ROW if time_s else HEADER) for time_s in times_s], 0.2)
    assert telemetry.achieved_period_s == pytest.approx(0.2)
    assert telemetry.longest_gap_s == pytest.approx(1.0)
    assert telemetry.requested_period_s == 0.2


def test_lines_that_were_held_back_are_remarked():
    telemetry = parse_stream(stamped([HEADER, *[ROW] * 9], 0.001), 0.2)
    assert telemetry.remarks == ("samples arrived in bursts (0.001 s apart instead of 0.2 s)",)


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "no sample was received"),
        ([HEADER], "no sample was received"),
        (["Failed to initialize NVML: Unknown Error"], "Failed to initialize NVML: Unknown Error"),
    ],
)
def test_a_stream_without_a_sample_still_has_every_column(lines, reason):
    telemetry = parse_stream(stamped(lines))
    assert len(telemetry.samples) == 0
    assert telemetry.reasons == dict.fromkeys(FIELDS_BY_COLUMN, reason)
    assert (telemetry.achieved_period_s, telemetry.longest_gap_s) == (None, None)


@pytest.mark.parametrize(
    "path", sorted(SAMPLES.glob("nvidia-smi_--query-gpu_-lms*.csv")), ids=lambda path: path.stem
)
def test_genuine_streams(path):
    lines = path.read_text().splitlines()
    stamps = [datetime.strptime(line.split(",")[0], "%Y/%m/%d %H:%M:%S.%f") for line in lines[1:]]
    times_s = [stamps[0].timestamp(), *(stamp.timestamp() for stamp in stamps)]
    telemetry = parse_stream(list(zip(times_s, lines, strict=True)))
    assert len(telemetry.samples) == len(lines) - 1
    assert telemetry.samples["power_w"].notna().all()
    assert np.all(np.diff(telemetry.samples["time_s"]) > 0)
    assert bool(telemetry.remarks) == ("unknown-error" in path.name)
