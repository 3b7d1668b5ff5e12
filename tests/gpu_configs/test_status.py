"""`status.sh`: what is, for people and for programs."""

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


def test_tells_the_mig_devices(a100, result):
    made = result(a100.run("setup_mig.sh", "--layout", "9:4,9:0", "--allow-reset"))
    said = result(a100.run("status.sh"))
    assert sorted(said["instances"].split(",")) == sorted(made["instances"].split(","))
