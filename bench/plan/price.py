"""What an hour of the device costs: a plan's own price or one of `prices.yaml`, with source and date."""

from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.plan.wording import shown

PRICE_FILE = Path(__file__).parent / "prices.yaml"


class Price(BaseModel):
    """What the whole device costs for an hour; `currency` is three letters (ISO 4217)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_hour: float = Field(gt=0, allow_inf_nan=False)
    currency: str = Field(pattern="^[A-Z]{3}$")
    source: str = Field(min_length=1, max_length=200)
    date: date

    def __str__(self) -> str:
        """Return "3.43 USD an hour (where that stands, 2026-11-09)"."""
        return f"{self.per_hour:g} {self.currency} an hour ({self.source}, {self.date})"


def list_price(device_name: str) -> Price | None:
    """Return the list price of a device by the name that its driver tells; None for one that is not listed."""
    listed = yaml.safe_load(PRICE_FILE.read_text(encoding="utf-8"))
    found = (each for each in listed if device_name.endswith(each["device"]))
    return next((Price(**{key: value for key, value in each.items() if key != "device"}) for each in found), None)


def read_price(raw: Any, say: Callable[[str, str], None]) -> Price | None:
    """Read the price of a plan; `say` takes the place of each fault, and what it is."""
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        say("price", f"must be a mapping with the keys per_hour, currency, source and date, not {shown(raw)}")
        return None
    try:
        return Price.model_validate(dict(raw))
    except ValidationError as error:
        for fault in error.errors():
            say(".".join(["price", *map(str, fault["loc"])]), f"{fault['msg']}, not {shown(fault['input'])}")
        return None
