"""What lies around the blocks, against PyTorch: embeddings, token types, offsets, registers, pooling and heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from mmjax.batch import Stream
from mmjax.models import TextTransformer, ViT
from tests.interop.torch_peers import mend_torchvision
from tests.models import torch_weights
from tests.models.batches import images
from tests.models.torch_weights import backward, below, difference, draw_weights, gradients, linear, norm, weights

mend_torchvision()

import transformers  # noqa: E402

SMALL = {"width": 16, "depth": 1, "heads": 2, "mlp_dim": 24}
SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "attn_implementation": "eager"}
PADDING, LENGTH = 1, 6
# Rows of several lengths; the largest id is not the last token of any.
IDS = np.array(
    [[3, 5, 19, 7, 19, 2], [3, 8, 2, 1, 1, 1], [3, 18, 9, 2, 1, 1]]
)  # no 0: BertModel gives its row no gradient


def bert_params(get, layers="encoder.layer.0."):
    return {
        "embedding": {"embedding": get("embeddings.word_embeddings.weight")},
        "position_table": get("embeddings.position_embeddings.weight"),
        "type_table": get("embeddings.token_type_embeddings.weight"),
        "norm_before": norm(get, "embeddings.LayerNorm"),
        "transformer": {"blocks_0": torch_weights.bert_layer(below(get, layers))},
        "head": linear(get, "pooler.dense"),
    }


def clip_params(get):
    return {
        "embedding": {"embedding": get("embeddings.token_embedding.weight")},
        "position_table": get("embeddings.position_embedding.weight"),
        "transformer": {"blocks_0": torch_weights.clip_layer(below(get, "encoder.layers.0."))},
        "norm_after": norm(get, "final_layer_norm"),
    }


BERT = {"norm_first": False, "pre_norm": True, "final_norm": False, "pooling": "first", "head": "tanh"}
TEXTS = {
    "bert": (
        lambda: transformers.BertModel(
            transformers.BertConfig(**SIZE, intermediate_size=24, vocab_size=20, max_position_embeddings=LENGTH)
        ),
        TextTransformer(**SMALL, **BERT, vocabulary=20, length=LENGTH, epsilon=1e-12, types=2),
        bert_params,
    ),
    "roberta": (
        lambda: transformers.RobertaModel(
            transformers.RobertaConfig(
                **SIZE,
                intermediate_size=24,
                vocab_size=20,
                max_position_embeddings=LENGTH + 2,
                type_vocab_size=1,
                layer_norm_eps=1e-5,
            )
        ),
        TextTransformer(**SMALL, **BERT, vocabulary=20, length=LENGTH, epsilon=1e-5, types=1, position_offset=2),
        bert_params,
    ),
    "clip": (
        lambda: transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                **SIZE, intermediate_size=24, vocab_size=20, max_position_embeddings=LENGTH, eos_token_id=2
            )
        ),
        TextTransformer(
            **SMALL,
            vocabulary=20,
            length=LENGTH,
            epsilon=1e-5,
            activation="quick_gelu",
            causal=True,
            pooling="argmax",
        ),
        clip_params,
    ),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_tower_equals_pytorch_with_all_gradients(name):
    make, ours, convert = TEXTS[name]
    peer = make().eval()
    draw_weights(peer)
    mask = IDS != PADDING
    stream = Stream(jnp.asarray(IDS, jnp.int32), jnp.ones(len(IDS), bool), mask=jnp.asarray(mask))
    pooled, grads, noise = backward(lambda p: ours.apply({"params": p}, stream).pooled, convert(weights(peer)))
    out = peer(torch.tensor(IDS), attention_mask=torch.tensor(mask.astype(int)))
    out.pooler_output.backward(torch.tensor(noise))
    tokens = jax.jit(ours.apply)({"params": convert(weights(peer))}, stream).tokens
    assert difference(pooled, out.pooler_output.detach().numpy()) < 1e-5
    assert difference(tokens[mask], out.last_hidden_state.detach().numpy()[mask]) < 1e-5
    assert difference(grads, convert(gradients(peer))) < 1e-5


def vit_params(get, layer, norm_after="layernorm"):
    return {
        "patches": torch_weights.squares(get, "embeddings.patch_embeddings.projection"),
        "class_token": get("embeddings.cls_token")[0, 0],
        "position_table": get("embeddings.position_embeddings")[0],
        "transformer": {"blocks_0": layer},
        "norm_after": norm(get, norm_after),
    }


def pooler_params(get):
    return vit_params(get, torch_weights.vit_layer(below(get, "layers.0."))) | {"head": linear(get, "pooler.dense")}


def registers_params(get):
    layer = torch_weights.dinov2_layer(below(get, "encoder.layer.0."))
    return vit_params(get, layer) | {"register_tokens": get("embeddings.register_tokens")[0]}


IMAGE = {"image_size": 16, "patch_size": 8}
VITS = {
    "vit": (
        lambda: transformers.ViTModel(transformers.ViTConfig(**SIZE, **IMAGE, intermediate_size=24)),
        ViT(**SMALL, patch=8, pooling="class", head="tanh", epsilon=1e-12),
        pooler_params,
    ),
    "dinov2 with registers": (
        lambda: transformers.Dinov2WithRegistersModel(
            transformers.Dinov2WithRegistersConfig(**SIZE, **IMAGE, mlp_ratio=2, num_register_tokens=3)
        ),
        ViT(**SMALL | {"mlp_dim": 32}, patch=8, pooling="class", layer_scale=1.0, registers=3),
        registers_params,
    ),
}


@pytest.mark.parametrize("name", VITS)
def test_an_image_tower_equals_pytorch_with_all_gradients(name):
    """In float64, so that of the two roundings only ours counts."""
    make, ours, convert = VITS[name]
    peer, stream = make().eval(), images()
    draw_weights(peer)
    pooled, grads, noise = backward(lambda p: ours.apply({"params": p}, stream).pooled, convert(weights(peer)))
    tokens = jax.jit(ours.apply)({"params": convert(weights(peer))}, stream).tokens
    pixels = torch.tensor((np.float64(stream.data) / 255 - 0.5) / 0.5).permute(0, 3, 1, 2)
    out = peer.double()(pixels)
    out.pooler_output.backward(torch.tensor(np.float64(noise)))
    assert difference(pooled, out.pooler_output.detach().numpy()) < 1e-5
    assert difference(tokens, out.last_hidden_state.detach().numpy()) < 1e-5
    assert difference(grads, convert(gradients(peer))) < 1e-5
