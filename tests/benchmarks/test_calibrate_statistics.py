"""The smaller version of `benchmarks/calibrate_statistics.py`."""

import pytest
from scripts import FOLDER, load

SCRIPT = FOLDER / "calibrate_statistics.py"
SCALE = 0.1
"""Of the published simulations; bootstraps and A/A campaigns among them."""


CALIBRATION = load("calibrate_statistics")
HEADLINES = [
    check
    for check in CALIBRATION.checks()
    if check.trials in {"6", "10", "pilot 6", "10 to 40", "100 units"}
    and not any(
        word in check.promise
        for word in ("BCa", "Brunner-Munzel", "two levels", "detected", "median", "attainment", "without")
    )
]


@pytest.mark.parametrize("check", HEADLINES, ids=lambda check: f"{check.promise}, n = {check.trials}")
def test_a_promise_is_kept(check: object) -> None:
    outcome = check.outcome(SCALE)  # type: ignore[attr-defined]
    assert outcome.kept, f"{outcome.hits} of {outcome.sims}"


@pytest.mark.parametrize("promise", ["paired ratio, BCa", "A12, Brunner-Munzel"])
def test_what_promises_too_much_is_found_out(promise: str) -> None:
    check = next(check for check in CALIBRATION.checks() if (check.promise, check.trials) == (promise, "6"))
    outcome = check.outcome(SCALE)
    assert not outcome.kept
    assert outcome.rate < 0.92


def test_the_published_table_is_that_of_the_script() -> None:
    page = (FOLDER.parent / "docs" / "calibration.md").read_text(encoding="utf-8")
    assert page.startswith(CALIBRATION.HEAD)
    promised = [(check.promise, check.trials) for check in CALIBRATION.checks()]
    rows = [tuple(row.strip("| ").split(" | ")[:2]) for row in page.splitlines() if row.startswith("| ")][1:]
    assert rows == promised
