"""The table of accelerators: by topology's names and by JAX's."""

import types

import pytest

from mmjax.chips import CHIPS, chip_of_kind
from mmjax.training import clock


def test_every_chip_says_where_its_figures_are_published():
    for name, chip in CHIPS.items():
        assert chip.name == name and chip.source.startswith("https://")
        assert chip.hbm < 200 * 2**30 and chip.flops > 1e14 and chip.bandwidth > 5e11


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("TPU v4", "v4"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("TPU v6 lite", "v6e"),
        ("TPU7x", "tpu7x"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA H100 PCIe", None),  # slower, and not in the table
        ("NVIDIA GH200 480GB", None),
        ("cpu", None),
    ],
)
def test_what_jax_calls_a_device(kind, name):
    found = chip_of_kind(kind)
    assert (found and found.name) == name


@pytest.mark.parametrize(("kind", "peak"), [("TPU v5 lite", 197e12), ("TPU7x", 2307e12 / 2), ("cpu", 0.0)])
def test_a_run_counts_its_share_of_the_peak_by_device(kind, peak, monkeypatch):
    monkeypatch.setattr(clock.jax, "devices", lambda: [types.SimpleNamespace(device_kind=kind)])
    assert clock.peak_flops() == peak
