"""The text tower's class token, CoCa's way: a learned token behind the row, which reads what open_clip's does."""

import jax.numpy as jnp
import numpy as np

from mmjax.models import TextTransformer
from mmjax.models.encoders.text import pool_index
from tests.interop.torch_peers import import_open_clip
from tests.models.batches import texts
from tests.models.references import draw_params, error

VOCABULARY, LENGTH = 20, 9
TEXT = texts((7, 4, 1, 6), 7, VOCABULARY)


def make():
    size = {"width": 16, "depth": 1, "heads": 2, "mlp_dim": 32}
    return TextTransformer(**size, vocabulary=VOCABULARY, length=LENGTH, epsilon=1e-5, pooling="class", causal=True)


def test_the_class_token_reads_what_open_clips_reads():
    """Its mask stands one place late, and so must ours; the one that they call correct is the mutant."""
    import torch

    open_clip = import_open_clip()
    size = dict(context_length=LENGTH, vocab_size=VOCABULARY, width=16, heads=2, layers=1, mlp_ratio=2.0)
    peers = [
        open_clip.transformer.TextTransformer(**size, embed_cls=True, output_dim=None, correct_cls_mask=correct).eval()
        for correct in (False, True)
    ]
    torch.manual_seed(0)
    for parameter in peers[0].parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    peers[1].load_state_dict(peers[0].state_dict())
    get = lambda name: jnp.asarray(peers[0].state_dict()[name].numpy())  # noqa: E731
    with torch.no_grad():
        right, wrong = (peer(torch.tensor(np.asarray(TEXT.data)).long()).numpy() for peer in peers)
    found = make().apply({"params": text_params(get)}, TEXT).pooled
    assert error(found, right) < 1e-5
    assert error(found, wrong) > 1e-3
    assert error(found[:1], wrong[:1]) < 1e-5  # a row without padding


def text_params(get):
    """open_clip's one block as ours."""
    block = "transformer.resblocks.0."
    linear = lambda name: {"kernel": get(f"{name}.weight").T, "bias": get(f"{name}.bias")}  # noqa: E731
    norm = lambda name: {"scale": get(f"{name}.weight"), "bias": get(f"{name}.bias")}  # noqa: E731
    qkv = zip(*(jnp.split(get(f"{block}attn.in_proj_{kind}"), 3) for kind in ("weight", "bias")), strict=True)
    parts = dict(zip(("query", "key", "value"), ({"kernel": w.T, "bias": b} for w, b in qkv), strict=True))
    return {
        "embedding": {"embedding": get("token_embedding.weight")},
        "position_table": get("positional_embedding"),
        "class_token": get("cls_emb"),
        "norm_after": norm("ln_final"),
        "transformer": {
            "blocks_0": {
                "norm_attention": norm(f"{block}ln_1"),
                "attention": parts | {"out": linear(f"{block}attn.out_proj")},
                "norm_mlp": norm(f"{block}ln_2"),
                "mlp": {"up": linear(f"{block}mlp.c_fc"), "down": linear(f"{block}mlp.c_proj")},
            }
        },
    }


def test_the_class_token_stands_behind_the_row():
    assert pool_index("class", TEXT.data, TEXT.mask).tolist() == [7] * 4
    tower = make()
    params = draw_params(tower, TEXT)
    encoded = tower.apply({"params": params}, TEXT, method="embed")
    assert encoded.tokens.shape[1] == 8 and encoded.mask[:, -1].all() and (encoded.position[:, -1] == 7).all()
    assert params["position_table"].shape[0] == LENGTH + 1
