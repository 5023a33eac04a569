"""CoCa's loss is open_clip's, with all gradients."""

import jax
import numpy as np
import pytest
from flax import traverse_util

import mmjax
from tests.interop import peers
from tests.interop.comparing import batch_of, gradient_error, gradients, make_inputs, normalised
from tests.interop.torch_peers import import_open_clip

STD = (0.26862954, 0.26130258, 0.27577711)  # CLIP's


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """open_clip's model, what it computes, the inputs, and the same model of ours."""
    one = peers.PEERS["coca"]
    model, inputs = peers.random_model(one), make_inputs(one)
    mine = mmjax.load(peers.write(one, model, tmp_path_factory.mktemp("coca")))
    pixels = normalised(inputs.pixels, mine.config["task"]["towers"]["image"]["mean"], STD)
    pixels = peers.torch.tensor(pixels).permute(0, 3, 1, 2).contiguous()
    return one, model, (pixels, peers.torch.tensor(inputs.ids)), mine, batch_of(mine, inputs)


@pytest.fixture(scope="module")
def ours(peer):
    *_, mine, batch = peer

    def loss(params):
        out = mine.task.loss(params, mine.task.encode(params, batch, None), batch, None)
        return out.total / out.weight, out.metrics

    with jax.default_matmul_precision("highest"):
        (value, metrics), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(mine.params)
    flat = traverse_util.flatten_dict(grads, sep="/")
    return float(value), metrics, {name: np.asarray(value) for name, value in flat.items()}


MUTANTS = {
    "padding is learnt too": {"ignore_index": -100},
    "features that are not normalised": {"normalize": False},
    "the features of another picture": {"roll": 1},
    "weights the other way about": {"weights": (2.0, 1.0)},
    "the first token is learnt from itself": {"shift": 0},
}


def theirs(peer, folder, ignore_index=0, normalize=True, roll=0, weights=(1.0, 2.0), shift=1):
    """Loss and gradients of open_clip's `CoCaLoss`, or of a mutant."""
    one, model, (pixels, ids), *_ = peer
    model.zero_grad()
    out = model(pixels, ids)
    image, labels = out["image_features"].roll(roll, 0), ids[:, shift : shift + out["logits"].shape[1]]
    if not normalize:
        image = model.encode_image(pixels, normalize=False)
    loss = import_open_clip().loss.CoCaLoss(
        caption_loss_weight=weights[1], clip_loss_weight=weights[0], pad_id=ignore_index
    )
    parts = loss(image, out["text_features"], out["logits"], labels.long(), out["logit_scale"])
    sum(parts).backward()
    return [part.item() for part in parts], gradients(one, model, folder)


def test_the_loss_is_open_clips_with_all_gradients(peer, ours, tmp_path):
    value, metrics, grads = ours
    parts, expected = theirs(peer, tmp_path)
    assert value == pytest.approx(sum(parts), rel=1e-6)
    assert [float(metrics["contrastive"]), 2 * float(metrics["caption"])] == pytest.approx(parts, rel=1e-6)
    assert gradient_error(grads, expected) < 1e-5


@pytest.mark.parametrize("mutant", MUTANTS)
def test_wrong_losses_are_rejected(mutant, peer, ours, tmp_path):
    parts, expected = theirs(peer, tmp_path, **MUTANTS[mutant])
    assert abs(ours[0] / sum(parts) - 1) > 1e-3
    with pytest.raises(AssertionError):
        assert gradient_error(ours[2], expected) < 1e-3
