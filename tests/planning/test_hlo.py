"""The text of a compiled program, read: shapes with their padding, who calls whom, how often loops turn."""

import jax
import jax.numpy as jnp
import pytest

from mmjax.planning import counts, hlo, traffic

TEXT = """HloModule jit_f, is_scheduled=true

%body (p: (s32[], bf16[2,8], f32[3,2,8])) -> (s32[], bf16[2,8], f32[3,2,8]) {
  %p = (s32[]{:T(128)}, bf16[2,8]{1,0:T(8,128)(2,1)S(1)}, f32[3,2,8]{2,1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %x = bf16[2,8]{1,0:T(8,128)(2,1)S(1)} get-tuple-element(%p), index=1
  %stack = f32[3,2,8]{2,1,0:T(8,128)} get-tuple-element(%p), index=2
  %dot = f32[2,2]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={1}
  %sum = f32[2,2]{1,0} all-reduce(%dot), channel_id=1, replica_groups={{0,1},{2,3}}, to_apply=%add
  %one = s32[]{:T(128)} constant(1)
  %next = s32[]{:T(128)} add(%i, %one)
  ROOT %out = (s32[]{:T(128)}, bf16[2,8]{1,0}, f32[3,2,8]{2,1,0}) tuple(%next, %x, /*index=2*/%stack)
}

%condition (q: (s32[], bf16[2,8], f32[3,2,8])) -> pred[] {
  %limit = s32[]{:T(128)} constant(12)
  %q = (s32[]{:T(128)}, bf16[2,8]{1,0}, f32[3,2,8]{2,1,0}) parameter(0)
  %j = s32[]{:T(128)} get-tuple-element(%q), index=0
  ROOT %less = pred[]{:T(512)} compare(%j, %limit), direction=LT
}

ENTRY %main (a: (s32[], bf16[2,8], f32[3,2,8])) -> (s32[], bf16[2,8], f32[3,2,8]) {
  %a = (s32[], bf16[2,8]{1,0}, f32[3,2,8]{2,1,0}) parameter(0)
  ROOT %loop = (s32[], bf16[2,8]{1,0}, f32[3,2,8]{2,1,0}) while(%a), condition=%condition, body=%body
}
"""


def test_a_program_is_read():
    program = hlo.parse(TEXT)
    assert program.entry == "main" and set(program.computations) == {"main", "body", "condition"}
    loop = program.computations["main"]["loop"]
    assert loop.opcode == "while" and loop.operands == ("a",) and loop.root and loop.called("body") == "body"
    assert [shape.dims for shape in loop.shapes] == [(), (2, 8), (3, 2, 8)]
    fast = program.computations["body"]["x"].shapes[0]
    assert (fast.dtype, fast.dims, fast.fast) == ("bf16", (2, 8), True)
    assert program.computations["body"]["out"].operands == ("next", "x", "stack")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("f32[4,257]{1,0:T(8,128)}", 8 * 384 * 4),  # both of the last two axes are made up to whole tiles
        ("bf16[4,257]{0,1:T(8,128)(2,1)}", 264 * 128 * 2),  # the last in memory is the first here
        ("f32[4,257]{1,0}", 4 * 257 * 4),  # no tiles but on TPUs
        ("pred[3]{0:T(128)}", 3),
        ("s4[3]{0}", 2),
        ("f32[]", 4),
    ],
)
def test_bytes_with_the_padding_of_tiles(text, size):
    assert hlo._shape(*hlo.SHAPE.search(text).groups()).size == size


def test_loops_count_as_often_as_they_turn():
    found = counts.count(hlo.parse(TEXT))
    assert found.flops == 12 * 2 * 2 * 2 * 8
    assert not found.unknown_loops
    (transfer,) = found.collectives
    assert (transfer.kind, transfer.size, transfer.times, transfer.groups) == ("all-reduce", 16, 12, "{{0,1},{2,3}}")
    # Read: nothing of the fast memory; written by the product, read and written by the sum; three numbers of the count.
    assert found.traffic == 12 * (3 * 16 + 3 * 4)


def test_two_turns_in_one_count_as_one():
    found = counts.count(hlo.parse(TEXT.replace("constant(1)\n", "constant(2)\n")))
    assert found.flops == 6 * 2 * 2 * 2 * 8 and found.collectives[0].times == 6


@pytest.mark.parametrize(("known", "unknown"), [("direction=LT", "direction=NE"), ("add(%i", "multiply(%i")])
def test_a_loop_of_unknown_length_is_named(known, unknown):
    assert counts.count(hlo.parse(TEXT.replace(known, unknown))).unknown_loops == ["loop"]


def compiled(function, *arguments):
    return counts.count(hlo.parse(jax.jit(function).lower(*arguments).compile().as_text()))


@pytest.mark.parametrize("gradient", [False, True])
def test_a_scanned_stack_counts_as_an_unrolled_one(gradient):
    """What XLA's own cost_analysis does not: it counts the body of a loop once."""
    x, weights = jnp.ones((16, 32)), jnp.ones((5, 32, 32))

    def scanned(weights):
        return jnp.sum(jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, weights)[0])

    def unrolled(weights):
        y = x
        for w in weights:
            y = jnp.tanh(y @ w)
        return jnp.sum(y)

    make = jax.grad if gradient else lambda f: f
    one, other = compiled(make(scanned), weights), compiled(make(unrolled), weights)
    products = 14 if gradient else 5  # the gradient by x of the first product is needed by nobody
    assert other.flops == products * 2 * 16 * 32 * 32
    assert one.flops in (other.flops, (products + 1) * 2 * 16 * 32 * 32)
    assert not one.unknown_loops


def fusion(inside, operand="f32[24,128]{1,0}", result="f32[1,128]{1,0}"):
    text = f"""HloModule m
%fused (p: f32[24,128], i: s32[]) -> f32[1,128] {{
  %p = {operand} parameter(0)
  %i = s32[] parameter(1)
{inside}
}}
ENTRY %main (a: f32[24,128], b: s32[]) -> f32[1,128] {{
  %a = {operand} parameter(0)
  %b = s32[] parameter(1)
  ROOT %f = {result} fusion(%a, %b), kind=kLoop, calls=%fused
}}
"""
    program = hlo.parse(text)
    main = program.computations["main"]
    return traffic.moved(main["f"], main, program)


def test_a_fusion_reads_what_it_slices():
    """A scanned block reads its own layer of the stacked parameters, not all of them."""
    slice_ = "  ROOT %s = f32[1,128]{1,0} dynamic-slice(%p, %i, %i), dynamic_slice_sizes={1,128}"
    assert fusion(slice_) == 512 + 512 + 4
    assert fusion(slice_.replace("dynamic-slice(", "negate(")) == 24 * 512 + 512 + 4  # the mutant: whole, and no place


def test_a_fusion_writes_what_it_updates_in_place():
    update = """  %c = f32[1,128]{1,0} broadcast(%i), dimensions={}
  ROOT %u = f32[24,128]{1,0} dynamic-update-slice(%p, %c, %i, %i)"""
    assert fusion(update, result="f32[24,128]{1,0}") == 512 + 4


def test_fast_memory_costs_no_traffic():
    slice_ = "  ROOT %s = f32[1,128]{1,0} negate(%p)"
    assert fusion(slice_, operand="f32[24,128]{1,0:T(8,128)S(1)}", result="f32[1,128]{1,0:T(8,128)S(1)}") == 0


@pytest.mark.parametrize(
    ("line", "moved"),
    [
        ("f32[32]{0} all-reduce-start(%a), replica_groups={}", 256),  # read and written
        ("(f32[32]{0}, f32[128]{0}) all-gather-start(%a), replica_groups={}", 128 + 512),
        ("f32[32]{0} all-reduce-done(%a)", 0),
        ("f32[32]{0} reduce-scatter-done(%a)", 0),
        ("((f32[32]{0}), f32[128]{0}, s32[]) async-start(%a), calls=%main", 0),  # what it runs is counted there
    ],
)
def test_transfers_that_run_beside_others(line, moved):
    text = (
        f"HloModule m\nENTRY %main (a: f32[32]) -> f32[] {{\n  %a = f32[32]{{0}} parameter(0)\n  ROOT %t = {line}\n}}\n"
    )
    program = hlo.parse(text)
    assert traffic.moved(program.computations["main"]["t"], program.computations["main"], program) == moved
