"""Every family at the size that people use, with random weights: blocks, features, logits, gradients.

What the small models of test_parity.py lack: rounding adds up over twelve wide blocks, and DINOv2's position table for
pictures of 518 pixels is resized for 224.
"""

import dataclasses
import gc
import pathlib
import shutil

import jax
import pytest

import mmjax
from mmjax.interop import FAMILIES
from mmjax.interop.sources import package_config
from tests.interop.comparing import Seen, before_resizing, errors, make_inputs, ours, theirs
from tests.interop.peers import COCA_BLOCKS, OPEN, PEERS, Peer, Reads, make_coca, random_model, write
from tests.interop.peers import transformers as hf
from tests.interop.test_parity import record
from tests.interop.torch_peers import import_open_clip

TABLE = "towers_image/position_table"
OPEN_CLIP = package_config("ViT-B-32-quickgelu")
OPEN_SIGLIP = package_config("ViT-B-16-SigLIP")
OPEN_COCA = package_config("coca_ViT-B-32")


def _chinese_clip():
    config = hf.ChineseCLIPConfig(vision_config=dict(patch_size=16), text_config=dict(vocab_size=21128))
    return hf.ChineseCLIPModel(config)


def _roberta():
    sizes = dict(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
    return hf.RobertaModel(hf.RobertaConfig(**sizes))


def _registers():
    return hf.Dinov2WithRegistersModel(hf.Dinov2WithRegistersConfig(patch_size=14, image_size=518))


def _open_siglip():
    config = {key: value for key, value in OPEN_SIGLIP.items() if key != "custom_text"}
    return import_open_clip().CustomTextCLIP(**config)


def _grown(family: str, make, **reads) -> Peer:
    """The small peer of a family at its usual size, which is the default of its config where `make` says no other."""
    return dataclasses.replace(PEERS[family], make=make, reads=Reads(**reads))


FULL = {
    "clip": _grown("clip", lambda: hf.CLIPModel(hf.CLIPConfig()), side=224, length=77, eos=49407),
    "siglip": _grown("siglip", lambda: hf.SiglipModel(hf.SiglipConfig()), side=224, length=64, eos=31999),
    "siglip2_naflex": _grown(
        "siglip2_naflex",
        lambda: hf.Siglip2Model(hf.Siglip2Config()),
        **dict(patch=16, grids=((12, 21), (20, 9)), most=256, length=64, eos=31999),
    ),
    "chinese_clip": _grown("chinese_clip", _chinese_clip, side=224, length=52, eos=21127),
    "vit": _grown("vit", lambda: hf.ViTModel(hf.ViTConfig()), side=224),
    "dinov2": _grown("dinov2", lambda: hf.Dinov2Model(hf.Dinov2Config(image_size=518)), side=224, table=518),
    "dinov2_registers": _grown("dinov2_registers", _registers, side=224, table=518),
    "bert": _grown("bert", lambda: hf.BertModel(hf.BertConfig()), length=128, eos=30521),
    "roberta": _grown("roberta", _roberta, length=128, eos=50264),
    "gpt2": _grown("gpt2", lambda: hf.GPT2Model(hf.GPT2Config()), length=128, eos=50256),
    "open_clip": Peer(
        lambda: import_open_clip().CLIP(**OPEN_CLIP),
        **OPEN,
        config=OPEN_CLIP,
        reads=Reads(side=224, length=77, eos=49407),
    ),
    "open_clip_siglip": Peer(
        _open_siglip,
        image="visual.trunk.blocks",
        text="text.transformer.resblocks",
        kind="open_clip",
        config=OPEN_SIGLIP,
        reads=Reads(side=224, length=64, eos=31999),
    ),
    "coca": Peer(
        lambda: make_coca(OPEN_COCA),
        **COCA_BLOCKS,
        config=OPEN_COCA,
        reads=Reads(side=224, length=76, eos=49407, pad=0),
    ),
}
# PyTorch's own float32 gradients lie up to 1.3e-5 from its float64 ones here, ours as much: queries and keys sum small
# differences of large terms over twelve blocks. Cosines of random towers are a few hundredths, so a rounding of 1e-7 in
# one counts 1e-5 of the largest logit.
TOLERANCE = {"blocks": 1e-5, "features": 1e-5, "logits": 3e-5, "gradients": 3e-5}
# Matrices of width 768 with the small models' 0.05 would saturate every softmax: a gradient is then a billionth of the
# largest, and PyTorch's own differs from its float64 by up to 9e-5. This gives the gain of the small models.
NOISE = 0.05 * (32 / 768) ** 0.5


@pytest.fixture
def folder(tmp_path):
    """A folder that goes with its case, and with it the memory: both hold gigabytes."""
    yield tmp_path
    shutil.rmtree(tmp_path)
    jax.clear_caches()
    gc.collect()


def compare(family: str, folder: pathlib.Path) -> dict[str, float]:
    """The errors of a family's full-size model."""
    peer = FULL[family]
    model = random_model(peer, noise=NOISE)
    inputs = make_inputs(peer, rows=2)
    mine = ours(mmjax.load(write(peer, model, folder / "model")), inputs)
    reference = theirs(peer, model, inputs, folder / "gradients")
    if peer.reads.table:
        _undo_resizing(mine, len(reference.gradients[TABLE]), family)
    return errors(mine, reference, inputs)


def _undo_resizing(mine: Seen, rows: int, family: str) -> None:
    """Our gradient is that of the table as it was resized when it was loaded; theirs that of the one in the file."""
    mine.gradients[TABLE] = before_resizing(mine.gradients[TABLE], rows, FAMILIES[family].resize[TABLE])


def test_every_family_is_here():
    """But the captioner, whose numbers at full size are in test_vision_encoder_decoder.py."""
    assert FULL.keys() | {"vision_encoder_decoder"} == FAMILIES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("family", FULL)
def test_same_numbers(family, folder):
    wrong = compare(family, folder)
    record(f"full {family}", wrong)
    assert all(error < TOLERANCE[what] for what, error in wrong.items()), wrong
