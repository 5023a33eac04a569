"""Names of topologies, and what is wrong with some."""

import re

import pytest

from mmjax.chips import CHIPS
from mmjax.errors import UserError
from mmjax.planning.topology import devices_of, parse_topology


def test_a_name_is_read():
    topology = parse_topology("v5p:4x4x8", slices=2)
    assert topology.chip is CHIPS["v5p"] and topology.shape == (4, 4, 8) and topology.chips == 256
    assert parse_topology("h100:8x4").chips == 32
    assert parse_topology("here").chips == 8


@pytest.mark.parametrize(
    ("name", "slices", "message"),
    [
        ("v5x:4x4", 1, "unknown chip 'v5x'; did you mean v5p or v5e?"),
        ("v5e", 1, "write a chip and its shape, such as v5e:16x16"),
        ("v5e:4x4x4", 1, "a slice of v5e has 2 axes"),
        ("h100:8x4x2", 1, "GPUs are given as a node and nodes"),
        ("v5e:4x4", 0, "--slices 0"),
        ("h100:8", 2, "--slices 2: only TPUs"),
    ],
)
def test_a_wrong_name_is_refused_in_a_line(name, slices, message):
    with pytest.raises(UserError, match=re.escape(message)):
        parse_topology(name, slices)


def test_a_shape_that_chips_do_not_come_in():
    pytest.importorskip("libtpu", reason="the TPU compiler is not installed: pip install 'mmjax[plan]'")
    with pytest.raises(UserError, match="--topology v5e:1x1: .*not divisible"):
        devices_of(parse_topology("v5e:1x1"))


def test_without_the_compiler_it_says_how_to_have_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=re.escape("pip install 'mmjax[plan]'")):
        devices_of(parse_topology("v5e:4x4"))
