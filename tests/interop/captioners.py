"""ViT + GPT-2 on both sides: small models as transformers makes them, and what both sides compute."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from mmjax.models import ViT
from mmjax.models.decoder_block import DecoderBlock
from mmjax.models.transformer import Block
from tests.interop.comparing import EPSILON, Seen, batch_of, errors, gradients, normalised
from tests.interop.peers import EOS, LENGTH, VISION, VOCABULARY, Peer, Reads, blocks, torch, transformers

START = EOS - 1
TEXT = dict(vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=32, n_layer=2, n_head=4, add_cross_attention=True)


def make(width=24, heads=3, **more):
    """A model whose decoder is 32 wide."""
    encoder = transformers.ViTConfig(**{**VISION, "hidden_size": width, "num_attention_heads": heads})
    decoder = transformers.GPT2Config(**TEXT, bos_token_id=START, eos_token_id=EOS)
    ids = dict(decoder_start_token_id=START, eos_token_id=EOS, pad_token_id=EOS) | more
    whole = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder, **ids)
    return transformers.VisionEncoderDecoderModel(whole)


def full():
    decoder = transformers.GPT2Config(bos_token_id=50255)
    ids = dict(decoder_start_token_id=50255, eos_token_id=50256, pad_token_id=50256)
    whole = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.ViTConfig(), decoder, **ids
    )
    return transformers.VisionEncoderDecoderModel(whole)


BOTH = dict(image="encoder.layers", text="decoder.transformer.h", kind="vit")
PEERS = {
    "vision_encoder_decoder": Peer(make, **BOTH),
    "vision_encoder_decoder one width": Peer(lambda: make(32, 4), **BOTH),
}
PEER = PEERS["vision_encoder_decoder"]
LARGE = Peer(full, **BOTH, reads=Reads(side=224, length=64, eos=50256))


def torch_pixels(pixels):
    return torch.tensor(normalised(pixels)).permute(0, 3, 1, 2).contiguous()


def theirs(peer, model, inputs, folder):
    """Blocks, image tokens and the logits of each real token, and gradients of the loss as their own trainer has it."""
    kept = {"image": [], "text": []}
    hooks = [block.register_forward_hook(keep(kept[tower])) for tower in kept for block in blocks(peer, model, tower)]
    ids, mask = torch.tensor(inputs.ids), torch.tensor(inputs.mask)
    model.zero_grad()
    labels = torch.where(mask, ids, -100)[:, 1:]
    out = model(pixel_values=torch_pixels(inputs.pixels), labels=labels)
    out.loss.backward()
    for hook in hooks:
        hook.remove()
    kept["text"] = [x * inputs.mask[:, :-1, None] for x in kept["text"]]
    values = {"image": out.encoder_last_hidden_state, "logits": out.logits * mask[:, 1:, None]}
    values = {name: value.detach().numpy() for name, value in values.items()}
    return Seen(values, kept, gradients(peer, model, folder))


def keep(into):
    def hook(module, args, output):
        into.append((output[0] if isinstance(output, tuple) else output).detach().numpy())

    return hook


def ours(model, inputs):
    task, batch = model.task, batch_of(model, inputs)
    ids, mask = jnp.asarray(inputs.ids), jnp.asarray(inputs.mask)
    wanted = lambda module, name: isinstance(module, (Block, DecoderBlock, ViT)) and name == "__call__"  # noqa: E731

    def cost(params):
        out = task.encode(params, batch, None)
        loss = task.loss(params, out, batch, None)
        return loss.total / loss.weight, out["logits"] * out["mask"][..., None]

    def everything(params):
        grads, logits = jax.grad(cost, has_aux=True)(params)
        kept = dict(capture_intermediates=wanted, mutable=["intermediates"])
        _, state = task.model.apply({"params": params}, batch.streams["image"], ids, mask, **kept)
        return grads, logits, state["intermediates"]

    with jax.default_matmul_precision("highest"):
        grads, logits, state = jax.jit(everything)(model.params)
    image, text = state["towers_image"], state["towers_text"]
    real = inputs.mask[:, :-1, None]
    depths = {tower: range(section["depth"]) for tower, section in model.config["task"]["towers"].items()}
    seen = {
        "image": [np.asarray(image["transformer"][f"blocks_{i}"]["__call__"][0]) for i in depths["image"]],
        "text": [np.asarray(text[f"blocks_{i}"]["__call__"][0][0])[:, :-1] * real for i in depths["text"]],
    }
    outputs = {"image": np.asarray(image["__call__"][0].tokens), "logits": np.asarray(logits)}
    flat = traverse_util.flatten_dict(grads, sep="/")
    return Seen(outputs, seen, {name: np.asarray(value) for name, value in flat.items()})


def difference(mine, reference, inputs):
    """As `errors`; what is there of the gradient of a key's bias in cross-attention is rounding, as of any key's."""
    largest = max(np.abs(x).max() for x in reference.gradients.values())
    for name in [name for name in reference.gradients if name.endswith("cross/key/bias")]:
        assert all(np.abs(side.gradients.pop(name)).max() < EPSILON * largest for side in (mine, reference))
    return errors(mine, reference, inputs)
