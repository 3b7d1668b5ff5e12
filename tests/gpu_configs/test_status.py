"""`status.sh`: what is, for people and for programs."""

import subprocess

from bench.simulator.driver.state import updated


def test_tells_an_idle_gpu(a100, result):
    said = result(a100.run_plain("status.sh"))
    assert said["gpu"] == a100.gpu
    assert said["name"] == "SIMULATED NVIDIA A100-SXM4-80GB"
    assert (said["compute_mode"], said["mig_mode"], said["mig_pending"]) == (
        "Default",
        "Disabled",
        "Disabled",
    )
    assert (said["instances"], said["mps_servers"], said["processes"]) == ("", "", "")


def test_tells_who_is_on_it(a100, result):
    a100.mps()
    with updated(a100.state_file) as state:
        state.add_client(4242, "train.py", a100.gpu, 512, mps_pipe_directory=str(a100.pipe))
    done = a100.run("status.sh")
    said = result(done)
    assert said["processes"] == "4242"
    assert said["mps_servers"] == str(a100.state.daemons[0].server_pid)
    assert "4242, train.py" in done.stdout


def test_tells_a_divided_gpu_instance_beside_an_empty_one(a100, result):
    tool = a100.folder / "bin" / "nvidia-smi"
    for words in (["-mig", "1"], ["mig", "-cgi", "9:0,9:4"], ["mig", "-cci", "0,0", "-gi", "2"]):
        subprocess.run([tool, *words], check=True, capture_output=True)
    said = result(a100.run("status.sh"))
    divided = next(gi for gi in a100.state.instances if gi.id == 2)
    assert said["instances"].split(",") == [
        f"{ci.uuid}/2/{ci.id}/1c.3g.40gb/{divided.start}" for ci in divided.compute
    ]


def test_tells_a_full_instance_beside_an_empty_one_of_the_same_profile(a100, result):
    tool = a100.folder / "bin" / "nvidia-smi"
    for words in (["-mig", "1"], ["mig", "-cgi", "9:0,9:4"], ["mig", "-cci", "-gi", "2"]):
        subprocess.run([tool, *words], check=True, capture_output=True)
    (uuid,) = [ci.uuid for gi in a100.state.instances for ci in gi.compute]
    assert result(a100.run("status.sh"))["instances"].startswith(f"{uuid}/2/0/3g.40gb/")


def test_tells_the_mig_devices(a100, result):
    made = result(a100.run("setup_mig.sh", "--layout", "9:4,9:0", "--allow-reset"))
    said = result(a100.run("status.sh"))
    assert sorted(said["instances"].split(",")) == sorted(made["instances"].split(","))
