"""What an hour of a device costs: the plan's own price with its faults, and the list."""

import pytest

from bench.errors import PlanError
from bench.plan.catalog import load_catalog
from bench.plan.load import read_plan
from bench.plan.price import Price, list_price

PLAN = "modes: [mps]\nmixes: {alone: [resnet50-training]}\n"


def price(text: str) -> Price | None:
    return read_plan(f"{PLAN}price: {text}", "plan.yaml", load_catalog()).price


def test_a_plan_names_its_own_price() -> None:
    found = price("{per_hour: 1.25, currency: EUR, source: our cluster, date: 2026-02-03}")
    assert str(found) == "1.25 EUR an hour (our cluster, 2026-02-03)"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("3", "price: must be a mapping"),
        ("{per_hour: 0, currency: USD, source: x, date: 2026-02-03}", "price.per_hour"),
        ("{per_hour: .inf, currency: USD, source: x, date: 2026-02-03}", "price.per_hour"),
        ("{per_hour: 1, currency: dollars, source: x, date: 2026-02-03}", "price.currency"),
        ("{per_hour: 1, currency: USD, source: x, date: yesterday}", "price.date"),
        ("{per_hour: 1, currency: USD, date: 2026-02-03}", "price.source"),
        ("{per_hour: 1, currency: USD, source: x, date: 2026-02-03, tax: 1}", "price.tax"),
    ],
)
def test_a_price_without_source_or_date_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(PlanError, match=place):
        price(text)


@pytest.mark.parametrize("name", ["NVIDIA A100-SXM4-80GB", "SIMULATED NVIDIA A100-SXM4-80GB", "NVIDIA H200"])
def test_listed_devices_have_a_price_with_source_and_date(name: str) -> None:
    found = list_price(name)
    assert found is not None
    assert found.source
    assert found.date


@pytest.mark.parametrize("name", ["NVIDIA A100-PCIE-40GB", "NVIDIA H200 NVL", "", "Intel Xeon"])
def test_another_device_has_none(name: str) -> None:
    assert list_price(name) is None
