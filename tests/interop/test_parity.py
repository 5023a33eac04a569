"""Every family against its PyTorch implementation: blocks, features, logits, gradients; and the ways back."""

import json
import os
import pathlib

import numpy as np
import pytest

import mmjax
from tests.interop.comparing import errors, make_inputs, ours, theirs
from tests.interop.peers import LENGTH, PEERS, random_model, write

TOLERANCE = 1e-5


def record(name: str, values: dict[str, float]) -> None:
    """Keeps what was measured, for the table in docs/weights.md: see `benchmarks/weights.py`."""
    if file := os.environ.get("MMJAX_RECORD"):
        path = pathlib.Path(file)
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | {f"{name}/{key}": value for key, value in values.items()}, indent=1))


@pytest.mark.parametrize("spread", [1.0, 0.01])
@pytest.mark.parametrize("name", PEERS)
def test_same_numbers(name, spread, tmp_path):
    peer = PEERS[name]
    model = random_model(peer, spread=spread)
    inputs = make_inputs(peer)
    mine = ours(mmjax.load(write(peer, model, tmp_path / "model")), inputs)
    wrong = errors(mine, theirs(peer, model, inputs, tmp_path / "gradients"), inputs)
    record(f"{name}" + (" small activations" if spread < 1 else ""), wrong)
    assert max(wrong.values()) < TOLERANCE, wrong


MUTANTS = {
    "quick GELU for the exact one": ("clip", 1.0, {"towers.text.activation": "gelu"}),
    "tanh GELU for the exact one": ("dinov2", 1.0, {"towers.image.activation": "gelu_tanh"}),
    "the exact GELU for the tanh form": ("siglip", 1.0, {"towers.image.activation": "gelu"}),
    "text pooled at its last token": ("clip legacy", 1.0, {"towers.text.pooling": "last"}),
    "text pooled at its first token": ("clip", 1.0, {"towers.text.pooling": "first"}),
    "text pooled at its largest id": ("clip added tokens", 1.0, {"towers.text.pooling": "argmax"}),
    "padding masked": ("siglip", 1.0, {"towers.text.attend_padding": False}),
    "Flax's epsilon": ("clip", 0.01, {"towers.image.epsilon": 1e-6}),
    "BERT's epsilon as torch's": ("bert", 0.01, {"towers.text.epsilon": 1e-5}),
    "pre-norm for post-norm": ("bert", 1.0, {"towers.text.norm_first": True}),
    "both directions for one": ("gpt2", 1.0, {"towers.text.causal": False}),
    "tanh GELU in the decoder": ("coca", 1.0, {"decoder.activation": "gelu_tanh"}),
    "positions from the start": ("roberta", 1.0, {"towers.text.position_offset": 0, "towers.text.length": LENGTH + 2}),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_wrong_variants_are_rejected(mutant, tmp_path):
    name, spread, changes = MUTANTS[mutant]
    peer = PEERS[name]
    model = random_model(peer, spread=spread)
    inputs = make_inputs(peer)
    mine = ours(mmjax.load(write(peer, model, tmp_path / "model")), inputs, changes)
    wrong = errors(mine, theirs(peer, model, inputs, tmp_path / "gradients"), inputs)
    assert max(wrong.values()) > 3 * TOLERANCE, wrong


def test_a_scale_without_its_exponential_is_rejected(tmp_path):
    peer = PEERS["clip"]
    model, inputs = random_model(peer), make_inputs(peer)
    mine = ours(mmjax.load(write(peer, model, tmp_path / "model")), inputs)
    reference = theirs(peer, model, inputs, tmp_path / "gradients")
    scale = float(model.logit_scale)
    mine.outputs["logits"] = mine.outputs["logits"] / np.exp(scale) * scale
    assert errors(mine, reference, inputs)["logits"] > 0.1
    assert all(np.abs(reference.gradients[name]).max() > 1e-3 for name in ("scale",))
