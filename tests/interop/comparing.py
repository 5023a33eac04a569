"""One model on both sides: every block's output, the features, and the gradient of every parameter."""

import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

import mmjax
from mmjax.batch import Batch, Stream
from mmjax.bundle import Model
from mmjax.config import build
from mmjax.interop.importer import Options
from mmjax.interop.positions import Resize, kernel
from mmjax.models.transformer import Block
from mmjax.tasks import TASKS
from tests.interop.peers import Peer, Reads, blocks, torch, write

FLOOR = 1e-3  # of the largest gradient
# Softmax attention does not change with a key's bias: its gradient is zero, and what is there is rounding.
# Both are held below the precision of float32 beside the largest gradient, which no relative measure could say.
NO_GRADIENT = "/attention/key/bias"
EPSILON = 1.2e-7
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Pictures and texts for both sides: uint8 `[b, side, side, 3]` (or patches), ids `[b, n]` and which are real."""

    pixels: np.ndarray
    ids: np.ndarray
    mask: np.ndarray
    patch_mask: np.ndarray | None = None
    position: np.ndarray | None = None


def make_inputs(peer: Peer, seed: int = 0, rows: int = 4) -> Inputs:
    """A full row of text, a short one and one that goes on behind an end, padded with the end's id as CLIP does.

    Of added tokens one stands before the end of the full row, and one behind the first end of the row with two.
    """
    rng, reads = np.random.default_rng(seed), peer.reads
    ids = rng.integers(3, reads.eos - 19, (rows, reads.length))
    ids[:, 0] = reads.eos - 1
    lengths = np.array([reads.length, 5, 9, 3][:rows])
    mask = np.arange(reads.length) < lengths[:, None]
    ids[np.arange(rows), lengths - 1] = reads.eos
    ids[2:3, 4] = reads.eos  # an end within a text: the first counts for CLIP, and is not the last token
    if reads.added:
        ids[[0, 2], [3, 6]] = reads.eos + reads.added
    ids = np.where(mask, ids, reads.eos if reads.pad is None else reads.pad)
    if peer.kind == "siglip2":
        return _patches(rng, reads, ids, mask)
    pixels = rng.integers(0, 256, (rows, reads.side, reads.side, 3), dtype=np.uint8)
    return Inputs(pixels, ids, mask)


def _patches(rng: np.random.Generator, reads: Reads, ids: np.ndarray, mask: np.ndarray) -> Inputs:
    rows, most = len(ids), reads.most
    position = np.zeros((rows, most, 2), np.int32)
    patch_mask = np.zeros((rows, most), bool)
    for row, (high, wide) in enumerate(reads.grids[:rows]):
        position[row, : high * wide] = np.stack(np.divmod(np.arange(high * wide), wide), axis=1)
        patch_mask[row, : high * wide] = True
    pixels = rng.integers(0, 256, (rows, most, reads.patch**2 * 3), dtype=np.uint8)
    return Inputs(np.where(patch_mask[..., None], pixels, 0), ids, mask, patch_mask, position)


def normalised(pixels: np.ndarray, mean: tuple = MEAN, std: tuple = STD) -> np.ndarray:
    """Float32 pixels as the towers of both sides read them."""
    shape = pixels.shape
    values = (pixels.reshape(-1, 3).astype(np.float32) / 255 - np.float32(mean)) / np.float32(std)
    return values.reshape(shape)


def batch_of(model: Model, inputs: Inputs) -> Batch:
    """The inputs as our batch."""
    rows = len(inputs.ids)
    present, index = np.ones(rows, bool), np.arange(rows, dtype=np.int32)
    streams = {}
    if "image" in model.streams:
        streams["image"] = Stream(inputs.pixels, present, mask=inputs.patch_mask, position=inputs.position)
    if "caption" in model.streams:
        streams["caption"] = Stream(inputs.ids.astype(np.int32), present, mask=inputs.mask)
    return Batch(streams, present, index, index)


@dataclasses.dataclass
class Seen:
    """What one side computes: features and logits by name, blocks by tower, gradients by our parameter names."""

    outputs: dict[str, np.ndarray]
    blocks: dict[str, list[np.ndarray]]
    gradients: dict[str, np.ndarray]


def theirs(peer: Peer, model: Any, inputs: Inputs, folder: pathlib.Path) -> Seen:
    """The PyTorch side."""
    kept: dict[str, list[np.ndarray]] = {}
    hooks = []
    for tower in ("image", "text"):
        if getattr(peer, tower):
            kept[tower] = []
            hooks += [block.register_forward_hook(_keep(kept[tower])) for block in blocks(peer, model, tower)]
    model.zero_grad()
    outputs = _run(peer, model, inputs)
    _weigh(outputs, torch.tensor).backward()
    for hook in hooks:
        hook.remove()
    values = {name: output.detach().numpy() for name, output in outputs.items()}
    return Seen(values, kept, gradients(peer, model, folder))


def gradients(peer: Peer, model: Any, folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Those of a PyTorch model by our names: written as a checkpoint and read by our importer, they need no map."""
    zero = lambda p: torch.zeros_like(p) if p.grad is None else p.grad  # noqa: E731
    with _parameters(model, {name: zero(p) for name, p in model.named_parameters()}):
        source = write(peer, model, folder)
    flat = traverse_util.flatten_dict(mmjax.load(source, options=Options(peer.reads.table)).params, sep="/")
    return {name: np.asarray(value) for name, value in flat.items()}


def _keep(into: list[np.ndarray]):
    def hook(module: Any, args: Any, output: Any) -> None:
        into.append((output[0] if isinstance(output, tuple) else output).detach().numpy())

    return hook


@contextlib.contextmanager
def _parameters(model: Any, values: Mapping[str, Any]):
    """The model with other values for a while."""
    old = {name: parameter.data for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.data = values[name]
    yield
    for name, parameter in model.named_parameters():
        parameter.data = old[name]


def _run(peer: Peer, model: Any, inputs: Inputs) -> dict[str, Any]:
    ids, mask = torch.tensor(inputs.ids), torch.tensor(inputs.mask).long()
    mean, std = (
        ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)) if peer.config else (MEAN, STD)
    )
    pixels = torch.tensor(normalised(inputs.pixels, mean, std))
    if peer.kind != "siglip2":
        pixels = pixels.permute(0, 3, 1, 2).contiguous()
    if peer.config is not None:
        if hasattr(model, "text_decoder"):
            out = model(pixels, ids)
            image, text, more = (out[key] for key in ("image_features", "text_features", "logits"))
            more = {"next": more * mask[:, 1:, None]}  # of what follows padding nobody has to say anything
        else:
            image, text, more = model.encode_image(pixels, normalize=True), model.encode_text(ids, normalize=True), {}
        bias = 0 if model.logit_bias is None else model.logit_bias
        return {"image": image, "caption": text, "logits": model.logit_scale.exp() * image @ text.T + bias, **more}
    if peer.pooled is not None:
        stream = {"pixel_values": pixels} if peer.image else {"input_ids": ids, "attention_mask": mask}
        return {"image" if peer.image else "caption": peer.pooled(model(**stream), inputs.mask)}
    more: dict[str, Any] = {} if peer.kind.startswith("siglip") else {"attention_mask": mask}
    if inputs.position is not None and inputs.patch_mask is not None:
        shapes = np.where(inputs.patch_mask[..., None], inputs.position, 0).max(axis=1) + 1
        more |= {"pixel_attention_mask": torch.tensor(inputs.patch_mask).long(), "spatial_shapes": torch.tensor(shapes)}
    out = model(input_ids=ids, pixel_values=pixels, **more)
    return {"image": out.image_embeds, "caption": out.text_embeds, "logits": out.logits_per_image}


def _weigh(outputs: Mapping[str, Any], array: Any) -> Any:
    """A scalar that depends on all outputs with fixed random weights."""
    total = 0.0
    for number, (name, output) in enumerate(sorted(outputs.items())):
        weights = np.random.default_rng(number).normal(size=tuple(output.shape)).astype(np.float32)
        if name == "logits":  # without signs, or the gradient of the scale would be a small difference of large terms
            output, weights = abs(output), np.abs(weights)
        total = total + (output * array(weights)).sum()
    return total


def ours(model: Model, inputs: Inputs, changes: Mapping[str, Any] | None = None) -> Seen:
    """Our side.

    Args:
      changes: dotted keys of the task section to change first, for a mutant.
    """
    task = build(changed(model.config["task"], changes or {}), TASKS, "task")
    batch = batch_of(model, inputs)

    def outputs(params: Any) -> dict[str, jax.Array]:
        out = dict(task.model.apply({"params": params}, batch))
        scale, bias = out.pop("scale", None), out.pop("bias", 0.0)
        if "next" in out:
            out["next"] = out["next"] * inputs.mask[:, 1:, None]
        logits = {} if scale is None else {"logits": scale * out["image"] @ out["caption"].T + bias}
        return out | logits

    def everything(params: Any) -> tuple[Any, Any, Any]:
        grads = jax.grad(lambda p: _weigh(outputs(p), jnp.asarray))(params)
        is_block = lambda module, name: isinstance(module, Block) and name == "__call__"  # noqa: E731
        _, state = task.model.apply(
            {"params": params}, batch, capture_intermediates=is_block, mutable=["intermediates"]
        )
        return outputs(params), grads, state

    with jax.default_matmul_precision("highest"):
        values, grads, state = jax.jit(everything)(model.params)
    flat = traverse_util.flatten_dict(grads, sep="/")
    return Seen(
        {name: np.asarray(value) for name, value in values.items()},
        _block_outputs(state["intermediates"]),
        {name: np.asarray(value) for name, value in flat.items()},
    )


def before_resizing(gradient: np.ndarray, rows: int, rule: Resize) -> np.ndarray:
    """The gradient `[n, d]` of a table as it was before a `resize_table`, which is linear: its transpose."""
    new, old = (math.isqrt(n - rule.extra) for n in (len(gradient), rows))
    weights = kernel(old, new, rule.method, rule.antialias)
    grid = gradient[rule.extra :].reshape(new, new, -1)
    back = np.einsum("ri,cj,rcd->ijd", weights, weights, grid, optimize=True).reshape(old * old, -1)
    return np.concatenate([gradient[: rule.extra], back.astype(np.float32)])


def _block_outputs(intermediates: Mapping[str, Any]) -> dict[str, list[np.ndarray]]:
    out = {}
    for tower in ("image", "text"):
        kept = intermediates.get(f"towers_{tower}", {}).get("transformer", {})
        names = sorted((name for name in kept if name.startswith("blocks_")), key=lambda name: int(name[7:]))
        if names:
            out[tower] = [np.asarray(kept[name]["__call__"][0]) for name in names]
    return out


def changed(task: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A task section with other values under dotted keys."""
    from mmjax.config import flatten
    from mmjax.interop.config_map import unflatten

    flat = flatten(task) | dict(changes)
    return unflatten(flat)


def errors(a: Seen, b: Seen, inputs: Inputs) -> dict[str, float]:
    """The largest errors of a against b, each relative to the scale of what is compared."""
    real = {"text": inputs.mask, "image": inputs.patch_mask}
    out: dict[str, float] = {}
    for name in b.outputs:
        kind = "logits" if name == "logits" else "features"
        out[kind] = max(out.get(kind, 0.0), _relative(a.outputs[name], b.outputs[name]))
    assert {t: len(x) for t, x in a.blocks.items()} == {t: len(x) for t, x in b.blocks.items()}
    out["blocks"] = max(
        _relative(x, y, real[tower])
        for tower in b.blocks
        for x, y in zip(a.blocks[tower], b.blocks[tower], strict=True)
    )
    return out | {"gradients": gradient_error(a.gradients, b.gradients)}


def gradient_error(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> float:
    """The largest error of a against b over all parameters, each relative to its own scale."""
    assert a.keys() == b.keys()
    largest = max(float(np.abs(x).max()) for x in b.values())
    for side in (a, b):
        assert all(np.abs(x).max() < EPSILON * largest for n, x in side.items() if NO_GRADIENT in n)
    return max(_gradient(a[n], x, largest) for n, x in b.items() if NO_GRADIENT not in n)


def _gradient(a: np.ndarray, b: np.ndarray, largest: float) -> float:
    return float(np.abs(a - b).max()) / max(float(np.abs(b).max()), FLOOR * largest)


def _relative(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    assert a.shape == b.shape
    if mask is not None and mask.shape == a.shape[:2]:
        a, b = a[mask], b[mask]
    return float(np.abs(a - b).max() / np.abs(b).max())
