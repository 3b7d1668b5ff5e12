import os
import threading

import pytest

from bench.gpu.energy import EnergyCounter
from bench.gpu.inventory import find_gpu, nvidia_present

WITH_GPU = nvidia_present(os.environ)


@pytest.mark.skipif(WITH_GPU, reason="this host has an NVIDIA device")
def test_no_driver_means_no_reading_and_a_reason():
    with EnergyCounter("GPU-1") as counter:
        assert counter.read_j() is None
        assert counter.reason.startswith("energy counter: ")


@pytest.mark.gpu
@pytest.mark.skipif(not WITH_GPU, reason="no NVIDIA device")
def test_the_counter_of_a_real_gpu_grows():
    with EnergyCounter(find_gpu(None, os.environ).uuid) as counter:
        before_j = counter.read_j()
        threading.Event().wait(1.0)
        after_j = counter.read_j()
    assert counter.reason is None
    assert 0 < after_j - before_j < 2000
