"""The shipped pod configs by the real TPU compiler: they fit, they are fast enough, they send what they should.

One of them is compiled in every run of the tests, the others and the scaling in the slow ones.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import pytest

from mmjax.config import read
from mmjax.mesh import ROWS, MeshShape, make_mesh
from mmjax.models.attention import attend
from mmjax.models.fused_attention import fits
from mmjax.planning.compiling import compile_for, shapes_of
from mmjax.planning.draft import draft
from mmjax.planning.estimate import estimate
from mmjax.planning.topology import devices_of, parse_topology
from mmjax.training.experiment import parse

pytest.importorskip("libtpu", reason="the TPU compiler is not installed: pip install 'mmjax[plan]'")

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


@functools.cache
def planned(name, topology, slices=1, **overrides):
    """The config's step compiled for a topology, its estimate, its topology and its blueprint."""
    config = read(str(CONFIGS / f"{name}.py"), {key.replace("__", "."): value for key, value in overrides.items()})
    experiment, pod = parse(config), parse_topology(topology, slices)
    blueprint = draft(config, experiment, make_mesh(experiment.mesh, devices_of(pod)))
    compiled = compile_for(blueprint, pod.chip)
    known = estimate(compiled.counts, compiled.flops, pod.chip, blueprint.mesh, pod) if compiled.counts else None
    return compiled, known, pod, blueprint


def check(name, topology):
    compiled, known, pod, blueprint = planned(name, topology)
    assert compiled.memory.total <= pod.chip.hbm
    assert known.useful / known.overlapped >= 0.60
    assert known.useful / known.serial >= 0.45
    assert not compiled.counts.unknown_loops
    check_transfers(compiled, known, blueprint)


def check_transfers(compiled, known, blueprint):
    """Parameters are gathered and gradients scattered; of the activations only features travel.

    An activation that the partitioner lost track of would be gathered, or change its layout: a text tower's alone is
    five times a block's parameters here.
    """
    leaves = jax.tree.leaves(shapes_of(blueprint).params)
    outside = max(4 * leaf.size for leaf in leaves if leaf.ndim < 3)
    block = sum(4 * leaf.size // leaf.shape[0] for leaf in leaves if leaf.ndim == 3)
    features = 4 * blueprint.experiment.batch_size * blueprint.task.model.dim
    for collective in compiled.counts.collectives:
        inside = "/blocks/" in collective.where
        assert collective.size <= (block if inside else max(outside, features) * 1.01), collective
        assert not inside or collective.kind not in ("all-to-all", "collective-permute"), collective
    kinds = {(transfer.kind, transfer.axes) for transfer in known.transfers}
    assert ("all-gather", ("fsdp",)) in kinds and ("reduce-scatter", ("fsdp",)) in kinds


def test_one_of_them_is_compiled_each_time():
    check("clip_vit_b16", "v5e:16x16")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "topology"), [("clip_vit_l14", "v5e:16x16"), ("siglip_vit_so400m", "v5p:8x8x8")], ids=lambda x: str(x)
)
def test_the_others_are_compiled_at_leisure(name, topology):
    check(name, topology)


@pytest.mark.slow
def test_bytes_of_a_chip_stay_as_pods_grow():
    """16 to 1,024 chips with 128 examples each, and parameters split along one axis of the torus."""
    totals, times = [], []
    for topology, slices, rows in (("v5e:4x4", 1, 2048), ("v5e:16x16", 1, 32_768), ("v5e:16x16", 4, 131_072)):
        ring = topology.split("x")[-1]
        compiled, known, *_ = planned("clip_vit_b16", topology, slices, batch_size=str(rows), mesh__fsdp=ring)
        totals.append(compiled.memory.total)
        times.append(known.overlapped)
    assert max(totals) <= 1.25 * min(totals), totals
    assert max(times) <= 1.1 * min(times), times


@pytest.mark.slow
def test_a_gather_of_products_piece_by_piece_is_counted_right():
    """With all chips on one axis the compiler gathers parameters in loops of products, two turns in one."""
    compiled, *_ = planned("clip_vit_b16", "v5e:4x4", batch_size="2048")
    assert any(c.kind == "collective-permute" for c in compiled.counts.collectives)
    assert 1 <= compiled.counts.flops * 16 / compiled.flops <= 4 / 3


@pytest.mark.slow
def test_a_naive_step_is_refused_and_says_by_how_much():
    naive = {"task__towers__image__remat": "none", "task__towers__text__remat": "none", "mesh__fsdp": "1"}
    compiled, known, pod, _ = planned("clip_vit_l14", "v5e:16x16", **naive)
    assert compiled.program is None and known is None
    assert compiled.memory.total > 3 * pod.chip.hbm


@pytest.mark.slow
def test_attention_by_xla_moves_far_more():
    """What the kernel is for: the logits of every head no longer go through main memory."""
    fused = planned("clip_vit_b16", "v5e:16x16")[0]
    plain = {f"task__towers__{tower}__attention": "xla" for tower in ("image", "text")}
    xla = planned("clip_vit_b16", "v5e:16x16", **plain)[0]
    assert xla.counts.traffic > 1.5 * fused.counts.traffic
    assert xla.counts.flops == pytest.approx(fused.counts.flops, rel=0.06)


@pytest.mark.slow
@pytest.mark.parametrize(("tokens", "heads"), [(257, 16), (577, 16), (1024, 12)])
def test_the_attention_kernel_compiles_where_it_says_that_it_fits(tokens, heads):
    mesh = make_mesh(MeshShape(), devices_of(parse_topology("v5e:2x2")))
    x = jax.ShapeDtypeStruct((32, tokens, heads, 64), jnp.bfloat16, sharding=jax.NamedSharding(mesh, ROWS))

    def gradients(implementation):
        def loss(query, key, value):
            return attend(query, key, value, None, False, implementation).astype(jnp.float32).sum()

        with jax.set_mesh(mesh):
            return jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(x, x, x).compile().as_text()

    told = []
    jax.eval_shape(lambda x: told.append(fits(x, x)) or x, x)  # which shapes suffice for
    assert told == [tokens < 1000]
    assert ("tpu_custom_call" in gradients("auto")) == told[0]
    if not told[0]:
        with pytest.raises(jax.errors.JaxRuntimeError, match="vmem"):
            gradients("fused")
