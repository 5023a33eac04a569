"""The proof of an export: the exported folder, loaded by its own library, against the model, on fixed inputs."""

import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from mmjax.batch import Batch, Stream

ROWS = 4
NEEDS = {"hf": ("torch", "transformers"), "open_clip": ("torch", "open_clip")}


def missing(library: str) -> str | None:
    """The first package that a comparison needs and that is not there."""
    return next((name for name in NEEDS[library] if importlib.util.find_spec(name) is None), None)


def largest_error(model: Any, library: str, folder: pathlib.Path) -> float:
    """The largest difference of any feature, relative to the features' scale; both sides in float32."""
    inputs = fixed_inputs(model)
    mine = features(model, inputs)
    other = _open_clip(folder, model, inputs) if library == "open_clip" else _transformers(folder, model, inputs)
    return max(float(np.abs(mine[name] - other[name]).max() / np.abs(other[name]).max()) for name in other)


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


def features(model: Any, inputs: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """What the model makes of the inputs, by stream."""
    present, index = np.ones(ROWS, bool), np.arange(ROWS, dtype=np.int32)
    batch = Batch({name: Stream(present=present, **data) for name, data in inputs.items()}, present, index, index)
    with jax.default_matmul_precision("highest"):
        out = jax.jit(model.task.embed)(model.params, batch)
    return {name: np.asarray(value) for name, value in out.items()}


def _pixels(model: Any, data: Mapping[str, np.ndarray]) -> Any:
    """Normalised float32 pixels: `[b, 3, h, w]`, or patches as they are."""
    import torch

    tower = model.config["task"]["towers"]["image"]
    pixels = data["data"]
    values = (pixels.reshape(-1, 3).astype(np.float32) / 255 - np.float32(tower["mean"])) / np.float32(tower["std"])
    tensor = torch.from_numpy(values.reshape(pixels.shape))
    return tensor.permute(0, 3, 1, 2).contiguous() if tensor.ndim == 4 else tensor


def _split(model: Any, inputs: Mapping[str, Mapping[str, np.ndarray]]) -> tuple[str | None, str | None]:
    """The names of the picture's and the text's stream."""
    kinds = {model.streams[name].kind: name for name in inputs}
    return kinds.get("image"), kinds.get("text")


def _transformers(
    folder: pathlib.Path, model: Any, inputs: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
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
        if not model.config["task"]["towers"]["text"]["attend_padding"]:
            arguments["attention_mask"] = torch.from_numpy(inputs[text]["mask"].astype(np.int64))
    with torch.inference_mode():
        out = other(**arguments)
    if image and text:
        return {image: out.image_embeds.numpy(), text: out.text_embeds.numpy()}
    name = image or text
    assert name
    return {name: _pooled(out, model, inputs[name]).numpy()}


def _pooled(out: Any, model: Any, data: Mapping[str, np.ndarray]) -> Any:
    """The vector of a single tower, by the pooling of ours."""
    import torch

    (tower,) = model.config["task"]["towers"].values()
    if tower["head"] != "none":
        return out.pooler_output
    if tower["pooling"] == "last":
        return out.last_hidden_state[torch.arange(ROWS), torch.from_numpy(data["mask"].sum(axis=1) - 1)]
    return out.last_hidden_state[:, 0]


def _open_clip(
    folder: pathlib.Path, model: Any, inputs: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    import torch

    try:
        import open_clip
    except RuntimeError as error:  # what torchvision raises where its binary does not fit torch
        raise ImportError(str(error)) from error
    other = open_clip.create_model(f"local-dir:{folder.resolve()}").eval()
    image, text = _split(model, inputs)
    assert image and text
    with torch.inference_mode():
        pixels = other.encode_image(_pixels(model, inputs[image]), normalize=True)
        texts = other.encode_text(torch.from_numpy(inputs[text]["data"].astype(np.int64)), normalize=True)
    return {image: pixels.numpy(), text: texts.numpy()}
