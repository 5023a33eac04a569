"""A picture of where a captioner looks for a word."""

import pathlib
from typing import Any

import numpy as np
from PIL import Image

from mmjax.decoding import Decoding
from mmjax.items import batch_of, read
from mmjax.report.maps import overlay
from mmjax.report.words import token_maps, word_map
from mmjax.writing import spelled

SIDE = 448  # pixels of the picture that is made, at least


def look(model: Any, file: str, decoding: Decoding, seed: int, word: str, out: pathlib.Path) -> str:
    """Writes a caption of a picture, and beside it the picture under the attention of one of its words.

    Returns:
      The caption.

    Raises:
      UserError: the caption has no such word, or the model reads no patches.
    """
    task = model.task
    row = read(task.image, model.streams[task.image], file)
    (written,) = model.write([{task.image: row}], decoding, 1, seed)
    text = read(task.text, model.streams[task.text], written.text)
    maps = token_maps(task, model.params, batch_of({task.image: [row], task.text: [text]}, 1))[0]
    ids = text["data"][text["mask"]][-int(text["mask"].sum()) + (task.begin is not None) :]
    pieces = list(spelled(model.streams[task.text].loaded(), map(int, ids)))
    weights = word_map(pieces, maps[: len(pieces)], word)
    save(row["data"], weights, out)
    return written.text


def save(pixels: np.ndarray, weights: np.ndarray, out: pathlib.Path) -> None:
    """The picture and the picture under its weights, side by side as a PNG; small ones are enlarged."""
    factor = max(1, -(-SIDE // pixels.shape[0]))
    large = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    both = np.concatenate([large, overlay(large, weights)], axis=1)
    Image.fromarray(both).save(out, format="PNG")
