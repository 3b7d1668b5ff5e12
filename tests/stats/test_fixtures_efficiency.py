"""The reference oracle on energy, cost, isolation and scaling."""

from collections.abc import Callable
from typing import Any

import pytest

from bench.stats.efficiency import Energy, cost_per_million, counted_energy_j, rate_per_gib, sampled_energy_j
from bench.stats.scaling import amdahl_fit, usl_fit
from bench.stats.tails import krebs_isolation

Oracle = Callable[[str], tuple[dict[str, Any], Any]]


def close(expected: Any, rel: float = 1e-6) -> Any:
    return pytest.approx(expected, rel=rel)


def test_isolation_krebs(oracle: Oracle) -> None:
    given, expected = oracle("isolation_krebs")
    order = "p99_ref_ms", "p99_disr_ms", "load_ref", "load_disr"
    assert krebs_isolation(*(given[name] for name in order)) == close(expected["I_QoS"])


def test_energy_edp(oracle: Oracle) -> None:
    given, expected = oracle("energy_edp")
    counted = counted_energy_j(*given["counter_mJ"])
    assert counted == close(expected["E_J"])
    energy = Energy(counted, given["T_s"])
    per_unit = energy.per_unit_j(given["units"])
    assert energy.mean_power_w == close(expected["mean_W"])
    assert per_unit == close(expected["J_per_unit"]) == close(1 / expected["units_per_J"])
    assert (energy.edp_js, energy.ed2p_js2) == close((expected["EDP_Js"], expected["ED2P_Js2"]))
    net = energy.above_idle(given["idle_W"])
    assert net.energy_j == close(expected["net_E_J"])
    assert net.per_unit_j(given["units"]) == close(expected["net_J_per_unit"])


def test_power_trapezoid(oracle: Oracle) -> None:
    given, expected = oracle("power_trapezoid")
    assert sampled_energy_j(given["t"], given["W"]) == close(expected["J"])


def test_cost_per_work(oracle: Oracle) -> None:
    given, expected = oracle("cost_per_work")
    cost = cost_per_million(given["usd_per_gpu_h"], given["units_per_s"])
    assert cost == close(expected["usd_per_million"])
    rate = rate_per_gib(given["units_per_s"], 1024 * given["peak_GiB"])
    assert rate == close(expected["units_per_s_per_GiB"])


def test_usl_exact(oracle: Oracle) -> None:
    given, expected = oracle("usl_exact")
    fit = usl_fit(given["N"], given["X"])
    assert fit is not None
    assert (fit.gamma, fit.alpha, fit.beta) == close(
        (expected["gamma"], expected["alpha"], expected["beta"]), rel=0.001
    )


def test_usl_specsdm91(oracle: Oracle) -> None:
    given, expected = oracle("usl_specsdm91")
    usl, amdahl = usl_fit(given["N"], given["X"]), amdahl_fit(given["N"], given["X"])
    assert usl is not None
    assert amdahl is not None
    for name in ("gamma", "alpha", "beta"):
        assert getattr(usl, name) == close(expected[name], rel=0.001)
    assert [usl.gamma_error, usl.alpha_error, usl.beta_error] == close(expected["se"], rel=0.001)
    assert usl.residual_sd == close(expected["sigma"], rel=0.001)
    assert usl.peak_clients == close(expected["N_peak"], rel=0.001)
    assert usl.limit == close(expected["X_limit_amdahl_asymptote"], rel=0.001)
    assert (amdahl.gamma, amdahl.alpha) == close((expected["amdahl_gamma"], expected["amdahl_alpha"]), rel=0.001)
    assert usl.aicc is not None
    assert amdahl.aicc is not None
    assert usl.aicc - amdahl.aicc == close(expected["aicc_usl_minus_amdahl"], rel=0.001)
