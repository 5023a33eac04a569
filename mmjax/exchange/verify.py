"""The proof of an export: the exported folder, loaded by its own library, against the model, on fixed inputs."""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mmjax.batch import Batch, Stream

ROWS = 4
TEXT = "two dogs run over 13 green hills"  # nothing that one side cleans and the other does not
NEEDS = {"hf": ("torch", "transformers"), "open_clip": ("torch", "open_clip")}
Inputs = Mapping[str, Mapping[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Other:
    """What the exported folder computes.

    Attributes:
      features: {stream: [b, d]} of the fixed inputs.
      logits: of each picture with each text `[b, b]`; None for a single tower.
      prepared: {stream: what its processor or tokenizer makes of `fixed_item`}: normalised pixels, or ids `[n]`.
    """

    features: Mapping[str, np.ndarray]
    logits: np.ndarray | None
    prepared: Mapping[str, np.ndarray]


def missing(library: str) -> str | None:
    """The first package that a comparison needs and that is not there."""
    return next((name for name in NEEDS[library] if importlib.util.find_spec(name) is None), None)


def errors(model: Any, library: str, folder: pathlib.Path) -> dict[str, float]:
    """How far the exported folder is from the model, both in float32; NaN where either has one.

    Returns:
      {stream: largest difference of its features, relative to their scale}; of two towers also that of their "logits",
      relative to the logit scale; and of what the processor and the tokenizer make of a picture and a text: "pixels",
      relative to the largest, and "ids", 0 or infinite.
    """
    inputs = fixed_inputs(model)
    other = (_open_clip if library == "open_clip" else _transformers)(folder, model, inputs)
    mine = features(model, inputs)
    found = {name: _difference(mine[name], theirs) for name, theirs in other.features.items()}
    if other.logits is not None:
        image, text = _split(model, inputs)
        assert image and text
        scale, bias = float(mine["scale"]), float(mine.get("bias", 0))
        logits = scale * mine[image] @ mine[text].T + bias
        found["logits"] = _difference(logits, other.logits, max(scale, abs(bias)))
    return found | {_what(model, name): _prepared(model, name, theirs) for name, theirs in other.prepared.items()}


def fixed_inputs(model: Any) -> dict[str, dict[str, np.ndarray]]:
    """Random pictures and texts, the same on every call, as the arrays of the model's streams."""
    rng = np.random.default_rng(0)
    out = {}
    for name, stream in model.streams.items():
        if name not in model.config["task"]["streams"]:
            continue
        if stream.kind == "text":
            words = [" ".join(f"{rng.integers(10**6)}" for _ in range(rng.integers(1, 9))) for _ in range(ROWS)]
            rows = [stream((text,), None) for text in words]
        else:
            sizes = rng.integers(40, 400, (ROWS, 2))
            rows = [stream(rng.integers(0, 256, (*size, 3), dtype=np.uint8), None) for size in sizes]
        out[name] = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
    return out


def fixed_picture(stream: Any) -> np.ndarray:
    """A picture uint8 `[h, w, 3]` that a stream makes half as large, with an even margin: see `differences`."""
    side: int = next(filter(None, (getattr(stream, key, None) for key in ("resize_to", "size"))), 64)
    return np.random.default_rng(1).integers(0, 256, (2 * side, 6 * side, 3), dtype=np.uint8)


def features(model: Any, inputs: Inputs) -> dict[str, np.ndarray]:
    """What the model makes of the inputs, by stream; and its "scale" and "bias", where it has them.

    Of a model that writes, "next": logits `[b, n, v]` of each token that is learnt, zeros where there is none.
    """
    present, index = np.ones(ROWS, bool), np.arange(ROWS, dtype=np.int32)
    batch = Batch({name: Stream(present=present, **data) for name, data in inputs.items()}, present, index, index)
    with jax.default_matmul_precision("highest"):
        out = jax.jit(lambda params, batch: model.task.encode(params, batch, None))(model.params, batch)
    found = {name: np.asarray(value) for name, value in out.items()}
    return {"next": found["logits"] * found["mask"][..., None]} if "target" in found else found


def _difference(mine: np.ndarray, theirs: np.ndarray, scale: float | None = None) -> float:
    """The largest, relative to `scale` or to their largest value; infinite where even the shapes differ."""
    if mine.shape != theirs.shape:
        return np.inf
    return float(np.abs(mine - theirs).max() / (np.abs(theirs).max() if scale is None else scale))


def _what(model: Any, name: str) -> str:
    return "ids" if model.streams[name].kind == "text" else "pixels"


def _prepared(model: Any, name: str, theirs: np.ndarray) -> float:
    """How far their preprocessing is from that of our stream."""
    stream = model.streams[name]
    if stream.kind != "text":
        row = stream(fixed_picture(stream), None)
        pixels = _pixels(model, {"data": row["data"][None]}).numpy()[0]
        return _difference(pixels[row["mask"]] if "mask" in row else pixels, theirs)
    row = stream((TEXT,), None)
    count = len(row["data"]) if _reads_padding(model) else int(row["mask"].sum())
    return 0.0 if np.array_equal(row["data"][:count], theirs[:count]) else np.inf


def _reads_padding(model: Any) -> bool:
    return model.config["task"]["towers"]["text"].get("attend_padding", False)


def _pixels(model: Any, data: Mapping[str, np.ndarray]) -> Any:
    """Normalised float32 pixels: `[b, 3, h, w]`, or patches as they are."""
    import torch

    tower = model.config["task"]["towers"]["image"]
    pixels = data["data"]
    values = (pixels.reshape(-1, 3).astype(np.float32) / 255 - np.float32(tower["mean"])) / np.float32(tower["std"])
    tensor = torch.from_numpy(values.reshape(pixels.shape))
    return tensor.permute(0, 3, 1, 2).contiguous() if tensor.ndim == 4 else tensor


def _split(model: Any, inputs: Inputs) -> tuple[str | None, str | None]:
    """The names of the picture's and the text's stream."""
    kinds = {model.streams[name].kind: name for name in inputs}
    return kinds.get("image"), kinds.get("text")


def _transformers(folder: pathlib.Path, model: Any, inputs: Inputs) -> Other:
    if hasattr(model.task, "generate"):
        return _writer(folder, model, inputs)
    import torch
    from transformers import AutoModel

    other = AutoModel.from_pretrained(str(folder)).eval()
    image, text = _split(model, inputs)
    arguments: dict[str, Any] = {}
    if image:
        data = inputs[image]
        arguments["pixel_values"] = _pixels(model, data)
        if "position" in data:
            real = np.where(data["mask"][..., None], data["position"], 0)
            arguments["pixel_attention_mask"] = torch.from_numpy(data["mask"].astype(np.int64))
            arguments["spatial_shapes"] = torch.from_numpy(real.max(axis=1) + 1)
    if text:
        arguments["input_ids"] = torch.from_numpy(inputs[text]["data"].astype(np.int64))
        if not _reads_padding(model):
            arguments["attention_mask"] = torch.from_numpy(inputs[text]["mask"].astype(np.int64))
    with torch.inference_mode():
        out = other(**arguments)
    prepared = ({image: _processed(folder, model.streams[image])} if image else {}) | (
        {text: _tokenized(folder, model.streams[text], _reads_padding(model))} if text else {}
    )
    if image and text:
        found = {image: out.image_embeds.numpy(), text: out.text_embeds.numpy()}
        return Other(found, out.logits_per_image.numpy(), prepared)
    name = image or text
    assert name
    return Other({name: _pooled(out, model, inputs[name]).numpy()}, None, prepared)


def _writer(folder: pathlib.Path, model: Any, inputs: Inputs) -> Other:
    """An encoder and a decoder, by teacher forcing."""
    import torch
    from transformers import AutoModelForImageTextToText

    other = AutoModelForImageTextToText.from_pretrained(str(folder)).eval()
    image, text = _split(model, inputs)
    assert image and text
    ids, mask = (torch.from_numpy(inputs[text][key].astype(np.int64)) for key in ("data", "mask"))
    with torch.inference_mode():
        out = other(_pixels(model, inputs[image]), decoder_input_ids=ids, decoder_attention_mask=mask)
    after = out.logits[:, :-1] * mask[:, 1:, None]
    own = _framed(_tokenized(folder, model.streams[text], False), model.streams[text].tokenizer, model.task)
    return Other({"next": after.numpy()}, None, {image: _processed(folder, model.streams[image]), text: own})


def _framed(ids: np.ndarray, tokenizer: Any, task: Any) -> np.ndarray:
    """Ids between those of begin and end, where our stream puts them: there whoever trains or generates does."""
    frame = tokenizer.get("frame") if isinstance(tokenizer, Mapping) else None
    before = [task.begin] if frame in ("begin", "both") else []
    return np.asarray([*before, *ids, *(task.ends if frame in ("end", "both") else ())])


def _processed(folder: pathlib.Path, stream: Any) -> np.ndarray:
    """The exported processor's pixels, by Pillow as ours are; of patches the real ones."""
    from PIL import Image
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(str(folder), backend="pil")
    out = processor(Image.fromarray(fixed_picture(stream)), return_tensors="np")
    pixels, mask = out["pixel_values"][0], out.get("pixel_attention_mask")
    return pixels if mask is None else pixels[mask[0].astype(bool)]


def _tokenized(folder: pathlib.Path, stream: Any, padded: bool) -> np.ndarray:
    """The exported tokenizer's ids, as far as the model reads them."""
    from transformers import AutoTokenizer

    padding = "max_length" if padded else "do_not_pad"
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    return np.asarray(tokenizer(TEXT, truncation=True, max_length=stream.length, padding=padding)["input_ids"])


def _pooled(out: Any, model: Any, data: Mapping[str, np.ndarray]) -> Any:
    """The vector of a single tower, by the pooling of ours."""
    import torch

    (tower,) = model.config["task"]["towers"].values()
    if tower["head"] != "none":
        return out.pooler_output
    if tower["pooling"] == "last":
        return out.last_hidden_state[torch.arange(ROWS), torch.from_numpy(data["mask"].sum(axis=1) - 1)]
    return out.last_hidden_state[:, 0]


def _open_clip(folder: pathlib.Path, model: Any, inputs: Inputs) -> Other:
    import torch
    from PIL import Image

    try:
        import open_clip
    except RuntimeError as error:  # what torchvision raises where its binary does not fit torch
        raise ImportError(str(error)) from error
    place = f"local-dir:{folder.resolve()}"
    other, _, preprocess = open_clip.create_model_and_transforms(place)
    other.eval()
    image, text = _split(model, inputs)
    assert image and text
    with torch.inference_mode():
        pixels = other.encode_image(_pixels(model, inputs[image]), normalize=True)
        texts = other.encode_text(torch.from_numpy(inputs[text]["data"].astype(np.int64)), normalize=True)
        logits = other.logit_scale.exp() * pixels @ texts.T + (0 if other.logit_bias is None else other.logit_bias)
        found = {image: pixels.numpy(), text: texts.numpy()}
        if hasattr(other, "text_decoder"):  # CoCa: what each text costs, as our task's `encode` says it
            ids = torch.from_numpy(inputs[text]["data"].astype(np.int64))
            after = other(_pixels(model, inputs[image]), ids)["logits"].transpose(1, 2)
            cost = torch.nn.functional.cross_entropy(after, ids[:, 1:], ignore_index=0, reduction="none")
            found["surprise"] = cost.sum(1).numpy()
    picture = Image.fromarray(fixed_picture(model.streams[image]))
    tokens = open_clip.get_tokenizer(place)([TEXT], context_length=model.streams[text].length)[0]
    prepared = {image: preprocess(picture).numpy(), text: tokens.numpy()}
    return Other(found, logits.numpy(), prepared)
