"""A ViT that GPT-2 reads by cross-attention, as `VisionEncoderDecoderModel` of transformers: captioners of both.

A checkpoint has a pooler as well, which nobody reads: it is left out on the way in, and goes out as zeros.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

from mmjax.interop.families.gpt2 import GPT2
from mmjax.interop.families.parts import blocks
from mmjax.interop.families.vit import ENCODE_IMAGE, VIT
from mmjax.interop.family import Config, Family, Flat, Key, Tensor, linear, model_type, norm
from mmjax.interop.layouts import split

IDS = {"decoder_start_token_id": "begin", "eos_token_id": "eos", "pad_token_id": "pad"}


def _below(part: str, keys: tuple[Key, ...]) -> tuple[Key, ...]:
    """The keys of a part's own family, where the config of the whole has them."""
    return tuple(dataclasses.replace(key, theirs=f"{part}.{key.theirs}") for key in keys)


def _complete(config: Config) -> dict[str, Any]:
    """As `generate` completes it: what the whole does not say the decoder says, and padding may be the end."""
    decoder = config["decoder"]
    ids = {key: _first(config.get(key), decoder.get(key)) for key in (*IDS, "bos_token_id")}
    ids["decoder_start_token_id"] = _first(ids["decoder_start_token_id"], ids.pop("bos_token_id"))
    ids["pad_token_id"] = _first(ids["pad_token_id"], ids["eos_token_id"], 0)
    return {**config, **ids}


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _map(theirs: str, ours: str) -> tuple[Tensor, ...]:
    return Tensor(f"{theirs}.weight", (f"{ours}/kernel",)), Tensor(f"{theirs}.bias", (f"{ours}/bias",))


def _own(name: str) -> str:
    """A parameter of a text tower by the name that a decoder has for it."""
    return name.replace("/transformer/", "/")


def _cross() -> tuple[Tensor, ...]:
    """What reads the picture; one matrix holds key and value, `[in, out]` as all of GPT-2's."""
    block, ours = "decoder.transformer.h.{i}", _own(blocks("text"))
    theirs, parts = f"{block}.crossattention", [f"{ours}/cross/{name}" for name in ("key", "value")]
    return (
        *norm(f"{block}.ln_cross_attn", f"{ours}/norm_cross"),
        *_map(f"{theirs}.q_attn", f"{ours}/cross/query"),
        Tensor(f"{theirs}.c_attn.weight", tuple(f"{p}/kernel" for p in parts), split(2, 1, transpose=False)),
        Tensor(f"{theirs}.c_attn.bias", tuple(f"{p}/bias" for p in parts), split(2, transpose=False)),
        *_map(f"{theirs}.c_proj", f"{ours}/cross/out"),
    )


def _table(task: Config) -> tuple[Tensor, ...]:
    text = GPT2.table(task)
    return (
        *(dataclasses.replace(tensor, theirs=f"encoder.{tensor.theirs}") for tensor in VIT.table(task)),
        *(Tensor(f"decoder.transformer.{t.theirs}", tuple(map(_own, t.ours)), t.layout) for t in text),
        *_cross(),
        *(linear("enc_to_dec_proj", "connect/map") if task["connection"]["connector"] == "linear" else ()),
    )


def _pooler(task: Config) -> dict[str, tuple[int, ...]]:
    image = task["towers"]["image"]
    if image["head"] != "none":
        return {}
    return {"encoder.pooler.dense.weight": (image["width"],) * 2, "encoder.pooler.dense.bias": (image["width"],)}


def _adapt(config: Config, names: Collection[str]) -> Flat:
    del names
    encoder, decoder = config["encoder"], config["decoder"]
    begin = config["decoder_start_token_id"]
    return {
        "towers.text.mlp_dim": decoder["n_inner"] or 4 * decoder["n_embd"],
        # Without one `generate` has nothing to begin with: no value of ours is equal to this.
        "towers.text.begin": "an id" if begin is None else begin,
        "connection.connector": "none" if encoder["hidden_size"] == decoder["n_embd"] else "linear",
    }


def _restore(flat: Flat) -> Flat:
    ids = {theirs: flat[f"towers.text.{ours}"] for theirs, ours in IDS.items()}
    return {
        "is_encoder_decoder": True,
        "tie_word_embeddings": False,  # of the whole; the decoder's are
        "encoder.pooler_output_size": flat["towers.image.width"],
        "decoder.is_decoder": True,
        "decoder.n_inner": flat["towers.text.mlp_dim"],
        "decoder.bos_token_id": ids["decoder_start_token_id"],
        "decoder.eos_token_id": ids["eos_token_id"],
    }


VISION_ENCODER_DECODER = Family(
    name="VisionEncoderDecoder",
    library="hf",
    accepts=model_type("vision-encoder-decoder"),
    head={"model_type": "vision-encoder-decoder"},
    architecture="VisionEncoderDecoderModel",
    complete=_complete,
    keys=(
        *_below("encoder", VIT.keys),
        *_below("decoder", GPT2.keys),
        *(Key(theirs, f"towers.text.{ours}") for theirs, ours in IDS.items()),
    ),
    fixed={
        **ENCODE_IMAGE,
        "name": "caption",
        "streams.caption": "text",
        "towers.text.name": "decoder",
        "connection.reads": "cross",
    },
    required={
        "encoder.model_type": "vit",
        "decoder.model_type": "gpt2",
        **{f"encoder.{key}": value for key, value in VIT.required.items()},
        **{f"decoder.{key}": value for key, value in GPT2.required.items()},
        "decoder.add_cross_attention": True,
        "decoder.tie_word_embeddings": True,
        "decoder.cross_attention_hidden_size": None,
    },
    table=_table,
    adapt=_adapt,
    restore=_restore,
    ignore=(r"^encoder\.pooler\.", r"\.(attn|crossattention)\.(masked_)?bias$"),
    tied={"decoder.lm_head.weight": "decoder.transformer.wte.weight"},
    blank=_pooler,
    resize=VIT.resize,
    processor="vit",
)
