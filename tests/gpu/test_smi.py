import pytest

from bench.errors import DeviceError, SetupError
from bench.gpu.failures import refusal
from bench.gpu.smi import UNKNOWN_FIELD, DriverVersions, NvidiaSmi, parse_versions
from bench.gpu.tool import Answer, ask

UUID = "GPU-00000000-0000-0000-0000-000000000000"


def smi(tool, body: str) -> NvidiaSmi:
    return NvidiaSmi(tool("nvidia-smi", body))


def test_query_returns_the_row_of_the_gpu_that_was_asked_for(tool):
    door = smi(tool, 'cat "$EXCERPTS/query_h100_mig.csv"')
    values = door.query_gpu(UUID, ["power.draw.instant", "compute_mode"])
    assert values == {"power.draw.instant": 447.35, "compute_mode": "Default"}


def test_another_gpus_row_is_an_error(tool):
    with pytest.raises(DeviceError, match="0 rows of GPU GPU-other"):
        smi(tool, 'cat "$EXCERPTS/query_h100_mig.csv"').query_gpu("GPU-other", ["name"])


def test_an_answer_without_a_field_is_an_error(tool):
    with pytest.raises(DeviceError, match=r"lacks fan\.speed"):
        smi(tool, 'cat "$EXCERPTS/query_h100_mig.csv"').query_gpu(UUID, ["name", "fan.speed"])


def test_a_field_that_the_driver_does_not_know_costs_no_other(tool):
    body = """case "$*" in
      *invented*) echo 'Field "invented" is not a valid field to query.'; exit 2;;
      --help*) cat "$EXCERPTS/help_query_gpu.txt";;
      *) printf 'uuid, power.draw.average [W]\\nGPU-1, 80.5\\n';;
    esac"""
    values = smi(tool, body).query_gpu("GPU-1", ["power.draw.average", "invented"])
    assert values == {"power.draw.average": 80.5, "invented": UNKNOWN_FIELD}


def test_old_drivers_are_asked_by_the_old_name(tool):
    body = """echo '"clocks_throttle_reasons.active"'; echo '"timestamp"'"""
    names = smi(tool, body).names_of(["timestamp", "clocks_event_reasons.active", "power.draw.instant"])
    assert names == {"timestamp": "timestamp", "clocks_event_reasons.active": "clocks_throttle_reasons.active"}


def test_help_lists_aliases_as_well(tool):
    fields = smi(tool, 'cat "$EXCERPTS/help_query_gpu.txt"').valid_fields
    assert {"timestamp", "clocks.current.sm", "clocks.sm", "clocks_throttle_reasons.active"} <= fields


def test_a_lost_gpu_is_left_out_of_the_list(tool):
    body = """echo 'index, uuid, name, memory.total [MiB], driver_version, vbios_version, mig.mode.current, compute_mode'
    echo 'Unable to determine the device handle for GPU0000:02:00.0: Unknown Error'
    echo '[Unknown Error], [Unknown Error], [Unknown Error], [Unknown Error], [Unknown Error], [Unknown Error], [N/A], [N/A]'
    echo '1, GPU-1, NVIDIA L40S, 46068, 595.80, 95.02, [N/A], Default'; exit 15"""  # noqa: E501
    (gpu,) = smi(tool, body).gpus()
    assert (gpu.index, gpu.driver_version, gpu.memory_total_mib, gpu.mig_mode) == (1, "595.80", 46068, None)


def test_mig_devices_are_those_of_the_gpu_that_was_asked_for(tool):
    door = smi(tool, 'cat "$EXCERPTS/list_two_gpus.txt"')
    assert len(door.mig_devices("GPU-8b89b58e-b427-108d-ac50-06138d78fe78")) == 1
    assert door.mig_devices("GPU-03a041b7-8abf-360a-d1a2-dfd70188cd5f") == []


@pytest.mark.parametrize(
    ("status", "text"),
    [(6, "No GPU instances found: Not Found"), (6, "No MIG-supported devices found."), (0, "")],
)
def test_nothing_there_is_an_empty_list(tool, status, text):
    door = smi(tool, f"echo '{text}'; exit {status}")
    assert (door.mig_instances(UUID), door.mig_profiles(UUID), door.mig_placements(UUID)) == ([], [], {})


def test_a_list_that_is_refused_is_an_error_that_says_what_next(tool):
    door = smi(tool, "echo 'Failed to display GPU instances: Insufficient Permissions'; exit 4")
    with pytest.raises(SetupError, match=r"(?s)mig -i GPU-.* exit code 4 \(no permission\).*run as root"):
        door.mig_instances(UUID)


def test_compute_apps_with_their_memory(tool):
    apps = smi(tool, 'cat "$EXCERPTS/compute_apps_l40s.csv"').compute_apps(UUID)
    assert [(app.pid, app.used_memory_mib) for app in apps] == [(20037, 538), (20038, 681)]
    assert apps[1].process_name == "ffmpeg"


def test_a_process_of_another_namespace_keeps_its_pid(tool):
    body = "printf 'gpu_uuid, pid, process_name, used_gpu_memory [MiB]\\nGPU-1, 312710, [Not Found], [N/A]\\n'"
    (app,) = smi(tool, body).compute_apps(UUID)
    assert (app.pid, app.process_name, app.used_memory_mib) == (312710, None, None)


def test_a_driver_that_is_not_loaded_must_be_mended_first(tool):
    with pytest.raises(SetupError, match=r"(?s)driver not loaded.*couldn't communicate.*modprobe nvidia"):
        smi(tool, 'cat "$EXCERPTS/no_driver.txt"; exit 9').gpus()


@pytest.mark.parametrize(
    ("status", "text", "kind", "step"),
    [
        (18, "Failed to initialize NVML: Driver/library version mismatch", SetupError, "reload"),
        (255, "Failed to initialize NVML: Unknown Error", DeviceError, "restart the container"),
        (15, "Unable to determine the device handle", DeviceError, "reboot"),
        (77, "", DeviceError, "by hand"),
    ],
)
def test_refusals_name_a_next_step(status, text, kind, step):
    error = refusal(Answer("nvidia-smi -L", status, text, ""))
    assert type(error) is kind
    assert f"exit code {status}" in str(error)
    assert step in str(error)


def test_a_missing_tool_names_the_ways_out():
    with pytest.raises(SetupError, match=r"PATH=/nowhere.*--device simulated"):
        NvidiaSmi({"PATH": "/nowhere"}).gpus()


def test_a_tool_that_hangs_is_ended(tool):
    environment = tool("nvidia-smi", "exec sleep 60")
    with pytest.raises(DeviceError, match=r"did not answer within 0\.2 s"):
        ask(["nvidia-smi"], environment, 0.2)


@pytest.mark.parametrize(
    ("text", "driver", "cuda"),
    [
        ("DRIVER version      : 590.48.01\nCUDA Version        : 13.1\n", "590.48.01", "13.1"),
        (
            'DRIVER version      : Deprecated, see "KMD version" instead\n'
            'CUDA version        : Deprecated, see "CUDA UMD version" instead\n'
            "KMD version         : 610.57.04\nCUDA UMD version    : 13.3\n",
            "610.57.04",
            "13.3",
        ),
        ("| NVIDIA-SMI 595.80    Driver Version: 595.80    CUDA Version: 13.2     |\n", "595.80", "13.2"),
        ("| NVIDIA-SMI 610.57.04   KMD Version: 610.57.04   CUDA UMD Version: 13.3 |\n", "610.57.04", "13.3"),
        ("nothing", None, None),
    ],
)
def test_versions_of_driver_and_cuda(text, driver, cuda):
    assert parse_versions(text) == DriverVersions(driver, cuda)


def test_a_driver_without_the_option_tells_its_versions_in_the_table(tool):
    body = '[ $# = 0 ] || exit 2; echo "| NVIDIA-SMI 470.57.02  Driver Version: 470.57.02  CUDA Version: 11.4 |"'
    assert smi(tool, body).versions() == DriverVersions("470.57.02", "11.4")
