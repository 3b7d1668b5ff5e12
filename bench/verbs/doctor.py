"""`doctor`: what this machine can measure, and the command for each thing that it cannot; it changes nothing."""

import argparse
import json

from bench.doctor.diagnosis import diagnose
from bench.doctor.page import page


def doctor(options: argparse.Namespace) -> int:
    """Print the diagnosis, as text or as one JSON document; whatever it says, it is no failure."""
    told = diagnose(options.device or "auto")
    print(json.dumps(told.as_document(), indent=1) if options.json else page(told))
    return 0
