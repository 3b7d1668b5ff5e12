import pytest

from bench.gpu.table import Column, parse_header, parse_table
from bench.gpu.values import Absent, int_or_none, number_or_none, parse_value, text_or_none


@pytest.mark.parametrize(
    "token",
    [
        "[N/A]",
        "N/A",
        "[Unknown Error]",
        "[Insufficient Permissions]",
        "[Not Supported]",
        "[Not Found]",
        "[Requested functionality has been deprecated]",
        "ERR!",
        "[GPU requires reset]",
    ],
)
def test_each_token_is_an_absence_that_says_why(token):
    value = parse_value(token, "power.draw")
    assert value == Absent(token)
    assert value.reason.startswith(f"{token}: ")
    assert (number_or_none(value), int_or_none(value), text_or_none(value)) == (None, None, None)


def test_a_token_nobody_has_seen_is_an_absence_too():
    assert parse_value("[Gone Fishing]") == Absent("[Gone Fishing]")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("0 %", 0),
        ("433.78 W", 433.78),
        ("700.00", 700.0),
        ("81559 MiB", 81559),
        ("15814595384 us", 15814595384),
        ("0x0000000000000004", 4),
        ("Enabled", "Enabled"),
        ("Not Active", "Not Active"),
        ("P0", "P0"),
        ("Exclusive_Process", "Exclusive_Process"),
    ],
)
def test_cells_become_numbers_masks_and_texts(cell, value):
    assert parse_value(cell, "anything") == value


@pytest.mark.parametrize(
    ("field", "cell"),
    [
        ("driver_version", "595.80"),
        ("serial", "0000000000000"),
        ("compute_cap", "8.0"),
        ("pci.device_id", "0x26B910DE"),
    ],
)
def test_identifiers_made_of_digits_stay_text(field, cell):
    assert parse_value(cell, field) == cell


def test_header_gives_names_and_units():
    assert parse_header("timestamp, power.draw [W], name") == (
        Column("timestamp"),
        Column("power.draw", "W"),
        Column("name"),
    )


@pytest.mark.parametrize("line", ["0, 0, 0", "Unable to determine the device handle", "| NVIDIA-SMI 580 |"])
def test_rows_and_messages_are_no_header(line):
    assert parse_header(line) == ()


def test_columns_are_found_by_name_and_units_dropped(excerpt):
    (row,) = parse_table(excerpt("query_h100_mig.csv")).rows
    assert row["utilization.gpu"] == Absent("[N/A]")
    assert row["power.draw.instant"] == 447.35
    assert row["mig.mode.current"] == "Enabled"
    assert row["clocks_event_reasons.active"] == 0


def test_bare_and_bracketed_absences_of_one_row(excerpt):
    (row,) = parse_table(excerpt("query_rtx2080.csv")).rows
    assert row["temperature.memory"] == Absent("N/A")
    assert row["power.draw.average"] == Absent("[N/A]")
    assert row["power.management"] == Absent("[Requested functionality has been deprecated]")


def test_two_part_driver_version_keeps_its_zero(excerpt):
    assert parse_table(excerpt("query_l40s.csv")).rows[0]["driver_version"] == "595.80"


def test_text_among_rows_is_a_remark_and_a_lost_gpu_a_row_of_absences(excerpt):
    names = ["index", "name", "fan.speed", "clocks.sm", "clocks.mem", "a", "b", "pstate", "power.limit"]
    table = parse_table(excerpt("one_gpu_lost.csv"), [Column(name) for name in names])
    assert table.remarks == ["Unable to determine the device handle for GPU0000:02:00.0: Unknown Error"]
    assert [row["index"] for row in table.rows] == [0, Absent("[Unknown Error]"), 2]
    assert table.rows[2]["power.limit"] == 350.0


def test_a_comma_in_a_process_name_moves_no_other_cell():
    table = parse_table("pid, process_name, used_gpu_memory [MiB]\n7, python, train.py, 512 MiB\n")
    assert table.rows == [{"pid": 7, "process_name": "python, train.py", "used_gpu_memory": 512}]


@pytest.mark.parametrize("line", ["7, 512 MiB", "one, two, three, four", "7, python, lots"])
def test_a_row_that_does_not_fit_is_a_remark(line):
    table = parse_table(f"pid, process_name, used_gpu_memory [MiB]\n{line}\n")
    assert (table.rows, table.remarks) == ([], [line])
