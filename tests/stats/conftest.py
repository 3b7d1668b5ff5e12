import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ORACLE = Path(os.environ.get("BENCH_SHARED", ROOT.parent / "shared")) / "reference" / "stat_fixtures.json"


@pytest.fixture(scope="session")
def oracle() -> Callable[[str], tuple[dict[str, Any], Any]]:
    """Return input and expectation of one reference fixture; skip where the shared folder is not at hand."""
    if not ORACLE.exists():
        pytest.skip(f"no reference fixtures at {ORACLE}")
    entries = {entry["id"]: entry for entry in json.loads(ORACLE.read_text())["fixtures"]}
    return lambda name: (entries[name]["input"], entries[name]["expected"])
