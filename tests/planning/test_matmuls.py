"""Operations of products, in the forms that compilers give them."""

import pytest

from mmjax.chips import CHIPS
from mmjax.planning import hlo
from mmjax.planning.matmuls import Work, work


def of(line, chip=None, **operands):
    """The work of one line whose operands have these types."""
    given = "\n".join(f"  %{name} = {kind} parameter({i})" for i, (name, kind) in enumerate(operands.items()))
    program = hlo.parse(f"HloModule m\nENTRY %main () -> f32[] {{\n{given}\n  ROOT %y = {line}\n}}\n")
    main = program.computations["main"]
    return work(main["y"], main, chip)


def test_a_dot():
    line = "f32[4,5]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}"
    assert of(line, a="f32[4,7]{1,0}", b="f32[7,5]{1,0}") == Work(2 * 4 * 5 * 7, 2 * 4 * 5 * 7)


@pytest.mark.parametrize(
    ("chip", "precision", "passes"),
    [
        ("v5e", "highest", 6),
        ("v5e", "high", 3),
        ("v5e", "default", 1),
        ("h100", "highest", 989 / 67),
        ("h100", "high", 2),
    ],
)
def test_exact_float32_takes_longer(chip, precision, passes):
    line = f"f32[4,5]{{1,0}} dot(%a, %b), lhs_contracting_dims={{1}}, operand_precision={{{precision},{precision}}}"
    product = 2 * 4 * 5 * 7
    assert of(line, CHIPS[chip], a="f32[4,7]{1,0}", b="f32[7,5]{1,0}") == Work(product, pytest.approx(passes * product))
    assert of(line, CHIPS[chip], a="bf16[4,7]{1,0}", b="bf16[7,5]{1,0}").unit_flops == product
    assert of(line, None, a="f32[4,7]{1,0}", b="f32[7,5]{1,0}").unit_flops == product


@pytest.mark.parametrize(("precision", "passes"), [("DEFAULT", 2), ("HIGHEST", 16)])
def test_float32_of_a_library_call(precision, passes):
    """Which is TF32 where it names no precision."""
    line = (
        'f32[4,5]{1,0} custom-call(%a, %b), custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":'
        '{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]},"precision_config":{"operand_precision":["'
        + precision
        + '","DEFAULT"]}}}'
    )
    assert of(line, CHIPS["a100"], a="f32[4,7]{1,0}", b="f32[7,5]{1,0}").unit_flops == passes * 2 * 4 * 5 * 7


@pytest.mark.parametrize(("target", "products"), [("fmhaSoftmax", 2), ("fmhaSoftmaxBackward", 5)])
def test_attention_by_cudnn(target, products):
    """Its program is none that the text shows; its config holds the shape of the logits, rows x heads x n x m."""
    line = (
        f'(bf16[2,128,4,64]{{3,2,1,0}}, u8[0]{{0}}) custom-call(%a, %a, %a), custom_call_target="__cudnn${target}", '
        'backend_config={"cudnn_fmha_backend_config":{"fmha_scale":0.125,"intermediate_tensor_shape":'
        '{"element_type":"BF16","dimensions":["2","4","128","96"],"layout":{"minor_to_major":["3","2","1","0"]}}}}'
    )
    assert of(line, a="bf16[2,128,4,64]{3,2,1,0}").flops == products * 2 * (2 * 4 * 128 * 96) * 64
    assert of(line.replace("intermediate", "other"), a="bf16[2,128,4,64]{3,2,1,0}") is None


def test_a_batched_product_as_a_tpu_writes_it():
    """Attention: 8 rows and 4 heads as spatial axes, whose windows meet one element in each place."""
    line = (
        "bf16[8,4,16,32]{3,2,1,0} convolution(%a, %b), window={size=8x4 stride=7x3 lhs_dilate=8x4}, "
        "dim_labels=01bf_01io->01bf"
    )
    found = of(line, a="bf16[8,4,16,64]{3,2,1,0}", b="bf16[8,4,64,32]{3,2,1,0}")
    assert found.flops == 2 * 8 * 4 * 16 * 32 * 64


def test_a_linear_map_as_a_tpu_writes_it():
    line = "bf16[8,5,32]{2,1,0} convolution(%a, %b), window={size=1}, dim_labels=b0f_io0->b0f"
    assert of(line, a="bf16[8,5,64]{2,1,0}", b="bf16[64,32,1]{1,0,2}").flops == 2 * 8 * 5 * 32 * 64


def test_a_sum_over_tokens_as_a_tpu_writes_it():
    line = "bf16[64,32,1]{1,0,2} convolution(%a, %b), window={size=5}, dim_labels=f0b_i0o->bf0"
    assert of(line, a="bf16[8,5,64]{2,1,0}", b="bf16[8,5,32]{2,1,0}").flops == 2 * 8 * 5 * 32 * 64


def test_an_image_convolution_leaves_padding_out():
    line = "f32[1,4,4,6]{3,2,1,0} convolution(%a, %b), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_01io->b01f"
    found = of(line, a="f32[1,4,4,2]{3,2,1,0}", b="f32[3,3,2,6]{3,2,1,0}")
    assert found.flops == 2 * 6 * 2 * (3 * 4 - 2) ** 2  # of twelve places along an axis two lie outside


def test_a_library_call_and_a_kernel_that_tells_its_cost():
    gemm = (
        'f32[4,5]{1,0} custom-call(%a, %b), custom_call_target="__cublas$gemm", '
        'backend_config={"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"]}}}'
    )
    assert of(gemm, a="f32[4,7]{1,0}", b="f32[7,5]{1,0}").flops == 2 * 4 * 5 * 7
    kernel = (
        'bf16[4,5]{1,0} custom-call(%a), custom_call_target="tpu_custom_call", '
        'backend_config={"custom_call_config":{"cost_estimate":{"flops":"1234","transcendentals":"5"}}}'
    )
    assert of(kernel, a="bf16[4,5]{1,0}").flops == 1234


def test_anything_else_is_no_product():
    assert of("f32[4]{0} add(%a, %a)", a="f32[4]{0}") is None
