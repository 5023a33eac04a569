"""SigLIP of open_clip at a small size: its image tower is timm's, which goes by names, so a small one gets a name here.

The full-size one is in test_full_size.py.
"""

import dataclasses

import numpy as np
import pytest

import mmjax
from mmjax.cli import main
from mmjax.interop import exporter
from mmjax.interop.config_map import Inexpressible
from mmjax.interop.families import open_clip_siglip
from mmjax.interop.importer import Options
from mmjax.interop.tensors import open_files
from tests.interop.comparing import errors, make_inputs, ours, theirs
from tests.interop.peers import LENGTH, PATCH, PEERS, SIDE, VOCABULARY, Peer, Reads, random_model, write
from tests.interop.test_parity import TOLERANCE, record
from tests.interop.torch_peers import import_open_clip

CONFIG = {
    "embed_dim": 32,
    "init_logit_bias": -10,
    "custom_text": True,
    "text_cfg": dict(
        context_length=LENGTH,
        vocab_size=VOCABULARY,
        hf_tokenizer_name="the one beside it",
        width=32,
        heads=4,
        layers=2,
        mlp_ratio=2.0,
        no_causal_mask=True,
        proj_bias=True,
        pool_type="last",
        norm_kwargs={"eps": 1e-6},
    ),
}


def _peer(patch: int, side: int) -> Peer:
    name = f"vit_tinytest_patch{patch}_siglip_{side}"
    vision = dict(image_size=side, timm_model_name=name, timm_model_pretrained=False, timm_pool="map", timm_proj="none")

    def make():
        config = {key: value for key, value in CONFIG.items() if key != "custom_text"}
        return import_open_clip().CustomTextCLIP(**config, vision_cfg=vision)

    places = dict(image="visual.trunk.blocks", text="text.transformer.resblocks")
    reads = Reads(side=side, patch=patch)
    return Peer(make, **places, kind="open_clip", config={**CONFIG, "vision_cfg": vision}, reads=reads)


PEER = _peer(PATCH, SIDE)
PEERS_HERE = {"open_clip_siglip": PEER, "open_clip_siglip margin": _peer(14, 30)}


def _small(patch: int, side: int, pretrained: bool = False, **options):
    """timm's own SigLIP, with other numbers."""
    from timm.models.vision_transformer import vit_base_patch16_siglip_224

    small = dict(img_size=side, patch_size=patch, embed_dim=32, depth=2, num_heads=4, mlp_ratio=2)
    return vit_base_patch16_siglip_224(pretrained, **small, **options)


def vit_tinytest_patch8_siglip_32(pretrained: bool = False, **options):
    return _small(8, 32, pretrained, **options)


def vit_tinytest_patch14_siglip_30(pretrained: bool = False, **options):
    return _small(14, 30, pretrained, **options)


@pytest.fixture(scope="module", autouse=True)
def _known_to_timm():
    import_open_clip()
    from timm.models import register_model

    register_model(vit_tinytest_patch8_siglip_32)
    register_model(vit_tinytest_patch14_siglip_30)


@pytest.fixture(autouse=True)
def _known_to_mmjax(monkeypatch):
    trunk = open_clip_siglip.Trunk(width=32, depth=2, heads=4, mlp_dim=64)
    monkeypatch.setitem(open_clip_siglip.TRUNKS, "tinytest", trunk)
    for peer in PEERS_HERE.values():
        monkeypatch.setitem(open_clip_siglip.NAMES, ("tinytest", peer.reads.patch, peer.reads.side), "gelu")


def test_every_name_is_built_by_timm_as_the_table_says():
    import timm
    from torch import device

    found = [name for name in timm.list_models("vit_*_siglip_*") if open_clip_siglip.NAME.match(name)]
    known = {f"vit_{trunk}_patch{patch}_siglip_{size}" for trunk, patch, size in open_clip_siglip.NAMES}
    assert set(found) == known
    for (trunk, patch, size), activation in open_clip_siglip.NAMES.items():
        with device("meta"):
            model = timm.create_model(f"vit_{trunk}_patch{patch}_siglip_{size}", num_classes=0)
        mlp, cells = model.blocks[0].mlp, size // patch
        theirs = (model.embed_dim, len(model.blocks), model.blocks[0].attn.num_heads, mlp.fc1.out_features)
        assert theirs == dataclasses.astuple(open_clip_siglip.TRUNKS[trunk])
        assert model.pos_embed.shape[1] == cells**2
        assert ("Tanh" in type(mlp.act).__name__) == (activation == "gelu_tanh"), (trunk, patch, size)


def test_a_size_that_timm_has_no_name_for_is_refused(tmp_path, capsys):
    source = write(PEER, random_model(PEER), tmp_path / "in")
    main(["import", source, str(tmp_path / "larger"), "--image-size", "48"])
    assert main(["export", str(tmp_path / "out"), "--model", str(tmp_path / "larger"), "--to", "open_clip"]) == 2
    assert "config.data.streams.image.size = 48, it has 32" in capsys.readouterr().err


@pytest.mark.parametrize("spread", [1.0, 0.01])
@pytest.mark.parametrize("name", PEERS_HERE)
def test_same_numbers(name, spread, tmp_path):
    peer = PEERS_HERE[name]
    model, inputs = random_model(peer, spread=spread), make_inputs(peer)
    mine = ours(mmjax.load(write(peer, model, tmp_path / "model")), inputs)
    wrong = errors(mine, theirs(peer, model, inputs, tmp_path / "gradients"), inputs)
    record(name + (" small activations" if spread < 1 else ""), wrong)
    assert max(wrong.values()) < TOLERANCE, wrong


def test_the_authors_activation_is_rejected(tmp_path):
    model, inputs = random_model(PEER), make_inputs(PEER)
    changes = {"towers.image.activation": "gelu_tanh"}
    mine = ours(mmjax.load(write(PEER, model, tmp_path / "model")), inputs, changes)
    wrong = errors(mine, theirs(PEER, model, inputs, tmp_path / "gradients"), inputs)
    assert max(wrong.values()) > 3 * TOLERANCE, wrong


def test_shorter_rows_are_refused_for_padding_is_read(tmp_path):
    source = write(PEER, random_model(PEER), tmp_path / "in")
    model = mmjax.load(source, options=Options(text_length=9))
    with pytest.raises(Inexpressible, match=r"streams\.caption\.length = 9, it pads to .*towers\.text\.length = 16"):
        exporter.begin("open_clip", model.config["task"], model.config["streams"])


@pytest.mark.parametrize("name", PEERS_HERE)
def test_it_goes_out_bit_by_bit_and_is_proved(name, tmp_path):
    peer = PEERS_HERE[name]
    source = write(peer, random_model(peer), tmp_path / "in")
    assert main(["export", str(tmp_path / "out"), "--model", source, "--to", "open_clip", "--verify"]) == 0
    before, after = (open_files([tmp_path / place / "open_clip_model.safetensors"]) for place in ("in", "out"))
    assert before.keys() == after.keys()
    for name, stored in before.items():
        np.testing.assert_array_equal(stored.read(), after[name].read(), err_msg=name)


def test_timm_has_no_tanh_form_of_the_gelu(tmp_path, capsys):
    """The authors' towers, which are transformers' too: the one key that stands in the way is named."""
    peer = PEERS["siglip"]
    source = write(peer, random_model(peer), tmp_path / "in")
    assert main(["export", str(tmp_path / "out"), "--model", source, "--to", "open_clip"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "cannot express" in line]
    assert "config.task.towers.image.activation = 'gelu_tanh', it has 'gelu'" in line
    assert line.count("config.") == 1
    assert not (tmp_path / "out").exists()
