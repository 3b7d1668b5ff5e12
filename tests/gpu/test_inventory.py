import os
from dataclasses import replace

import pytest

from bench.errors import SetupError
from bench.gpu.inventory import cpu_device, find_gpu, fingerprint, nvidia_present

NOWHERE = {"PATH": "/nowhere"}
TWO_GPUS = """echo 'index, uuid, name, memory.total [MiB], driver_version, vbios_version, mig.mode.current, \
compute_mode'
echo '0, GPU-aaaa-1, NVIDIA L40S, 46068, 595.80, 95.02.66, [N/A], Default'
echo '1, GPU-aaab-2, NVIDIA H100, 81559, 595.80, 96.00.99, Disabled, Default'"""


def card(root, vendor, kind):
    folder = root / "sys/bus/pci/devices/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "class").write_text(f"{kind}\n")


def test_a_bare_host_has_no_nvidia_device(tmp_path):
    assert not nvidia_present(NOWHERE, tmp_path)


@pytest.mark.parametrize(
    ("vendor", "kind", "present"),
    [
        ("0x10de", "0x030200", True),
        ("0x10de", "0x030000", True),
        ("0x10de", "0x040300", False),  # the audio part of a card that was passed on
        ("0x15b3", "0x020700", False),
        ("0x1002", "0x030000", False),
    ],
)
def test_a_gpu_on_the_bus_counts_with_or_without_a_driver(tmp_path, vendor, kind, present):
    card(tmp_path, vendor, kind)
    assert nvidia_present(NOWHERE, tmp_path) is present


def test_a_device_node_or_the_tool_counts_too(tmp_path, tool):
    assert nvidia_present(tool("nvidia-smi", "exit 9"), tmp_path)
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    assert nvidia_present(NOWHERE, tmp_path)


@pytest.mark.parametrize(
    ("selector", "visible", "uuid"),
    [
        (None, "", "GPU-aaaa-1"),
        ("1", "", "GPU-aaab-2"),
        ("GPU-aaab-2", "", "GPU-aaab-2"),
        ("GPU-aaab", "", "GPU-aaab-2"),
        (None, "GPU-aaab-2,GPU-aaaa-1", "GPU-aaab-2"),
        ("0", "GPU-aaab-2", "GPU-aaaa-1"),
    ],
)
def test_a_gpu_is_found_by_index_uuid_or_what_the_scheduler_gave(tool, selector, visible, uuid):
    device = find_gpu(selector, {**tool("nvidia-smi", TWO_GPUS), "CUDA_VISIBLE_DEVICES": visible})
    assert (device.uuid, device.kind, device.simulated) == (uuid, "gpu", False)


def test_a_found_gpu_says_what_it_is(tool):
    device = find_gpu("1", tool("nvidia-smi", TWO_GPUS))
    assert (device.name, device.memory_total_mib) == ("NVIDIA H100", 81559)
    assert (device.driver_version, device.vbios_version) == ("595.80", "96.00.99")


@pytest.mark.parametrize("selector", ["2", "GPU-aaa", "GPU-zzz", "L40S"])
def test_a_selector_that_names_no_single_gpu_gets_the_list(tool, selector):
    with pytest.raises(SetupError, match=rf"(?s)`{selector}`.*0  GPU-aaaa-1  NVIDIA L40S.*1  GPU-aaab-2"):
        find_gpu(selector, tool("nvidia-smi", TWO_GPUS))


IN_A_CONTAINER = """case "$*" in
-L) echo 'GPU 0: NVIDIA H100 (UUID: GPU-aaab-2)'
    echo '  MIG 3g.40gb     Device  0: (UUID: MIG-1111-1)'
    echo '  MIG 1g.10gb     Device  1: (UUID: MIG-1111-2)' ;;
*) echo 'index, uuid, name, memory.total [MiB], driver_version, vbios_version, mig.mode.current, compute_mode'
   echo '0, GPU-aaab-2, NVIDIA H100, [Insufficient Permissions], 595.80, [N/A], Enabled, Default' ;;
esac"""


@pytest.mark.parametrize(
    ("selector", "visible"), [("MIG-1111-2", ""), (None, "MIG-1111-2"), (None, "MIG-1111-2,x")]
)
def test_a_mig_device_finds_its_gpu_even_where_that_tells_little(tool, selector, visible):
    device = find_gpu(selector, {**tool("nvidia-smi", IN_A_CONTAINER), "CUDA_VISIBLE_DEVICES": visible})
    assert (device.uuid, device.mig_uuid, device.selector) == ("GPU-aaab-2", "MIG-1111-2", "cuda:MIG-1111-2")
    assert device.memory_total_mib is None
    assert device.state_folder.name == "MIG-1111-2"  # a lock of its own: neighbours may measure, too


@pytest.mark.parametrize("selector", ["MIG-1111", "MIG-2222"])
def test_what_names_no_single_mig_device_gets_the_list(tool, selector):
    with pytest.raises(SetupError, match=rf"(?s)`{selector}`.*MIG-1111-1  3g.40gb of GPU-aaab-2.*MIG-1111-2"):
        find_gpu(selector, tool("nvidia-smi", IN_A_CONTAINER))


def test_fingerprint_has_units_and_none_for_what_is_not_told(tool):
    body = """echo 'uuid, name, uuid, driver_version, vbios_version, memory.total [MiB], power.limit [W], \
power.default_limit [W], enforced.power.limit [W], clocks.max.sm [MHz], clocks.max.memory [MHz], ecc.mode.current, \
persistence_mode, compute_mode, mig.mode.current'
    echo 'GPU-1, NVIDIA L40S, GPU-1, 595.80, 95.02, 46068, 350.00, 350.00, 300.00, 2520, 9001, Enabled, Disabled, Default, [N/A]'"""  # noqa: E501
    device = replace(cpu_device(), kind="gpu", uuid="GPU-1", environment=tool("nvidia-smi", body))
    values = fingerprint(device)
    assert values["driver_version"] == "595.80"
    assert values["enforced_power_limit_w"] == 300.0
    assert values["memory_total_mib"] == 46068
    assert values["mig_mode_current"] is None


def test_the_host_is_a_device_too():
    device = cpu_device()
    assert (device.kind, device.uuid, device.driver_version) == ("cpu", "cpu", None)
    assert device.name
    assert device.memory_total_mib and device.memory_total_mib > 256
    assert fingerprint(device)["cores"] == os.cpu_count()
