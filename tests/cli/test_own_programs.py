"""A plan's own commands, from the command line to the report, on the host's cores."""

PLAN = """\
name: own
modes: [cpu-shared]
mixes:
  pair: [{command: [sh, -c, "sleep 0.6"], name: short}, {command: [sleep, "1"], name: longer}]
timing: smoke
blocks: 1
"""


def run(place, *arguments):
    return place.run("--plan", place.plan, "--results", place.results, "--quiet", *arguments)


def test_durations_are_measured_and_the_report_says_what_is_not(place):
    place.plan.write_text(PLAN)
    done = run(place, "--device", "cpu", "--launcher", "process")
    assert done.returncode == 0, done.stderr
    tenants = [tenant for record, _ in place.records().values() for tenant in record["tenants"]]
    assert sorted(tenant["job"] for tenant in tenants) == ["longer", "longer", "short", "short"]
    for tenant in tenants:
        assert (tenant["reports"], tenant["exit_status"], tenant["error"]) == ("nothing", 0, None)
    short_s = [tenant["duration_s"] for tenant in tenants if tenant["job"] == "short"]
    assert all(0.6 <= duration_s < 3 for duration_s in short_s)
    report = (place.run_folder / "report" / "report.md").read_text()
    assert "neither progress nor latency is known" in report
    assert "| pair | short | cpu-shared | 1 | 1 |" in report


def test_a_command_that_fails_is_a_failed_trial(place):
    place.plan.write_text(PLAN.replace("sleep 0.6", "echo no such flag; exit 4"))
    assert run(place, "--device", "cpu", "--launcher", "process").returncode == 1
    reasons = [record["reason"] for record, _ in place.records().values() if record["status"] == "failed"]
    assert any("exit status 4; its last words: no such flag" in reason for reason in reasons)


def test_a_simulated_device_refuses(place):
    place.plan.write_text(PLAN.replace("cpu-shared", "mps"))
    done = run(place, "--device", "simulated")
    assert done.returncode == 2
    assert "a simulated device runs no programs" in done.stderr
    assert not place.results.exists()
