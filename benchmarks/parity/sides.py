"""One training twice, from the same exported weights: by mmjax's own step, and by a plain loop of torch's AdamW.

torch's AdamW first shrinks a parameter by `learning_rate * weight_decay` and then subtracts
`learning_rate * m / (sqrt(v) + eps)`, m and v corrected for their start from zero. optax (`scale_by_adam`, then
`add_decayed_weights`, then the learning rate) subtracts `learning_rate * (m / (sqrt(v) + eps) + weight_decay * p)`.
With eps in the same place, outside the root, that is one formula in another order of rounding. Which parameters decay
is read off the exporter's table: a tensor of theirs does where ours does.
"""

import dataclasses
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import torch
from flax import traverse_util

from mmjax.batch import Batch
from mmjax.interop import exporter, load
from mmjax.training import tree
from mmjax.training.optimizer import Optimizer
from mmjax.training.state import initializer
from mmjax.training.step import make_step

Library = Literal["hf", "open_clip"]
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
END = 49407  # CLIP's <|endoftext|>


@dataclasses.dataclass(frozen=True)
class Pairing:
    """A peer and the loss that both sides minimise.

    Attributes:
      library: whose model it is.
      loss: ours; of open_clip its ClipLoss or SigLipLoss, of transformers the one inside `CLIPModel`.
    """

    library: Library
    loss: Literal["info_nce", "sigmoid"]


PAIRINGS: Mapping[str, Pairing] = {
    "open_clip_clip": Pairing("open_clip", "info_nce"),
    "open_clip_siglip": Pairing("open_clip", "sigmoid"),
    "hf_clip": Pairing("hf", "info_nce"),
}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Of both towers.

    Attributes:
      end: the id that ends a text, the largest one.
      scan: compile one block and loop over it, which compiles faster.
    """

    width: int = 128
    depth: int = 4
    heads: int = 4
    image_size: int = 64
    patch: int = 16
    length: int = 32
    vocabulary: int = 49408
    end: int = END
    scan: bool = False


class Sections(NamedTuple):
    """Of a config."""

    task: dict[str, Any]
    streams: dict[str, Any]


def sections(pairing: Pairing, sizes: Sizes, tokenizer: pathlib.Path) -> Sections:
    """A model that the peer can express."""
    shape = dict(width=sizes.width, depth=sizes.depth, heads=sizes.heads, epsilon=1e-5, scan=sizes.scan)
    image = dict(name="vit", patch=sizes.patch, patch_bias=False, pooling="class", pre_norm=True, mean=MEAN, std=STD)
    ends = dict(pooling="eos", eos=sizes.end) if pairing.library == "hf" else dict(pooling="argmax")
    text = dict(name="text", vocabulary=sizes.vocabulary, length=sizes.length, causal=True, **ends)
    siglip = dict(scale_init=10.0, bias_init=-10.0) if pairing.loss == "sigmoid" else {}
    task = dict(
        name="align",
        towers={"image": image | shape, "text": text | shape},
        streams={"image": "image", "caption": "text"},
        pairs=(("image", "caption"),),
        loss=pairing.loss,
        dim=sizes.width,
        **siglip,
    )
    own = dict(clean="lower", pad=0) if pairing.library == "open_clip" else {}
    words = dict(name="hf", path=str(tokenizer), **own)
    streams = {
        "image": dict(name="image", size=sizes.image_size, crop_scale=None),
        "caption": dict(name="text", tokenizer=words, length=sizes.length),
    }
    return Sections(task, streams)


@dataclasses.dataclass(frozen=True)
class Start:
    """The first weights: ours, and the same in a folder of the peer.

    Attributes:
      decaying: the peer's names of the parameters that decay.
    """

    pairing: Pairing
    task: Any
    params: Mapping[str, Any]
    folder: pathlib.Path
    decaying: Collection[str]


def begin(
    pairing: Pairing, task: Any, sections: Sections, params: Mapping[str, Any], options: Optimizer, folder: pathlib.Path
) -> Start:
    """Exports the first weights into a folder that exists."""
    export = exporter.begin(pairing.library, sections.task, sections.streams)
    flat = {name: np.asarray(value) for name, value in traverse_util.flatten_dict(params, sep="/").items()}
    exporter.write(export, flat, folder)
    table = load.expand(export.family, sections.task)
    decaying = {tensor.theirs for tensor in table if tree.matches(options.decay, tensor.ours[0])}
    return Start(pairing, task, params, folder, decaying)


def our_losses(start: Start, options: Optimizer, batches: Sequence[Batch]) -> list[float]:
    """The loss of every step of `make_step`, float32 at the highest precision."""
    losses = []
    with jax.default_matmul_precision("highest"):
        step = jax.jit(make_step(start.task, options, len(batches)), donate_argnums=0)
        state = jax.jit(initializer(start.task, options, batches[0]))(jax.random.key(0), start.params)
        for batch in batches:
            state, metrics = step(state, batch, jax.random.key(0))
            losses.append(float(metrics["loss"]))
    return losses


def their_losses(
    start: Start, options: Optimizer, batches: Sequence[Batch], decaying: Collection[str] = ()
) -> list[float]:
    """The loss of every step of a loop as anybody writes it in torch.

    Args:
      decaying: the parameters that decay; none named: as on our side.
    """
    model = read_model(start).train()
    groups = parameter_groups(model, decaying or start.decaying, options.weight_decay)
    rule = torch.optim.AdamW(groups, options.learning_rate, (options.b1, options.b2), options.eps)
    rate = options.rate(len(batches))
    losses = []
    for step, batch in enumerate(batches):
        for group in rule.param_groups:
            group["lr"] = float(rate(step))
        rule.zero_grad()
        loss = their_loss(start.pairing, model, batch)
        loss.backward()
        rule.step()
        losses.append(loss.item())
    return losses


def read_model(start: Start) -> torch.nn.Module:
    """The exported folder, as its own library loads it."""
    if start.pairing.library == "hf":
        from transformers import CLIPModel

        return CLIPModel.from_pretrained(str(start.folder))
    import open_clip

    return open_clip.create_model(f"local-dir:{start.folder.resolve()}")


def parameter_groups(model: torch.nn.Module, decaying: Collection[str], weight_decay: float) -> list[dict[str, Any]]:
    """The two groups of torch's AdamW."""
    named = dict(model.named_parameters())
    assert set(decaying) <= named.keys()
    return [
        {"params": [value for name, value in named.items() if name in decaying], "weight_decay": weight_decay},
        {"params": [value for name, value in named.items() if name not in decaying], "weight_decay": 0.0},
    ]


def their_loss(pairing: Pairing, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The peer's own loss."""
    mean, std = (np.array(values, np.float32) for values in (MEAN, STD))
    pixels = (
        torch.from_numpy((np.asarray(batch["image"].data, np.float32) / 255 - mean) / std)
        .permute(0, 3, 1, 2)
        .contiguous()
    )
    caption = batch["caption"]
    ids = torch.from_numpy(np.asarray(caption.data, np.int64))
    if pairing.library == "hf":
        mask = torch.from_numpy(np.asarray(caption.mask, np.int64))
        return model(input_ids=ids, attention_mask=mask, pixel_values=pixels, return_loss=True).loss
    from open_clip.loss import ClipLoss, SigLipLoss

    return (ClipLoss() if pairing.loss == "info_nce" else SigLipLoss())(*model(pixels, ids))


def relative(ours: Sequence[float], theirs: Sequence[float]) -> np.ndarray:
    """The difference of the losses at each step, relative to the peer's."""
    return np.abs(np.array(ours) - np.array(theirs)) / np.abs(theirs)
