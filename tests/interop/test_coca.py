"""CoCa: which of open_clip's models are in the family, by the keys that keep others out; and every name of a tensor."""

import copy
import dataclasses

import jax
import pytest

import mmjax
from mmjax.config import build
from mmjax.errors import UserError
from mmjax.interop import FAMILIES, exporter, family_of, load
from mmjax.interop.config_map import essentials, to_config, to_sections
from mmjax.interop.sources import package_config
from mmjax.tasks import TASKS
from mmjax.training import tree
from tests.interop.comparing import changed, errors, make_inputs, ours, theirs
from tests.interop.peers import COCA, COCA_WITHOUT_POOLER, PEERS, make_coca, random_model, torch, write, write_tokenizer
from tests.interop.test_parity import TOLERANCE
from tests.models.batches import pairs

ONE_WIDTH = {**COCA, "vision_cfg": COCA["vision_cfg"] | {"width": 32}}
CONFIGS = {"two widths": COCA, "one width": ONE_WIDTH, "without pooler": COCA_WITHOUT_POOLER}
FAMILY = FAMILIES["coca"]


def sections(model_cfg):
    return to_sections(FAMILY, {"model_cfg": model_cfg, "preprocess_cfg": {}}, ())


def with_key(key, value, config=COCA):
    config = copy.deepcopy(config)
    *parents, last = key.split(".")
    place = config
    for parent in parents:
        place = place[parent]
    place[last] = value
    return config


@pytest.mark.parametrize("name", CONFIGS)
def test_every_tensor_has_its_place(name):
    """Whether image tower and pooler have one width decides the names: torch keeps one matrix or three."""
    task = sections(CONFIGS[name]).task
    state = make_coca(CONFIGS[name]).state_dict()
    table = load.expand(FAMILY, task)
    assert sorted(tensor.theirs for tensor in table) == sorted(state)
    parts = {
        ours: part.shape
        for tensor in table
        for ours, part in zip(tensor.ours, tensor.layout.load(state[tensor.theirs].numpy()), strict=True)
    }
    batch = jax.eval_shape(pairs)
    shapes = jax.eval_shape(build(task, TASKS, "task").init, jax.random.key(0), batch)
    ours = {name: x.shape for name, x in zip(tree.names(shapes), jax.tree.leaves(shapes), strict=True)}
    ours.pop("towers_image/position_table"), parts.pop("towers_image/position_table")  # of another picture's size
    assert parts == ours


@pytest.mark.slow
@pytest.mark.parametrize("spread", [1.0, 0.01])
def test_same_numbers_without_a_pooler(spread, tmp_path):
    """The decoder then reads the image tower's own tokens; see test_parity.py for what is compared."""
    config = COCA_WITHOUT_POOLER
    peer = dataclasses.replace(PEERS["coca"], make=lambda: make_coca(config), config=config)
    model, inputs = random_model(peer, spread=spread), make_inputs(peer)
    mine = ours(mmjax.load(write(peer, model, tmp_path / "model")), inputs)
    wrong = errors(mine, theirs(peer, model, inputs, tmp_path / "gradients"), inputs)
    assert max(wrong.values()) < TOLERANCE, wrong


def test_every_norm_has_their_epsilon():
    """In the decoder, whose tokens are never small, no number would tell."""
    model, task = make_coca(COCA), sections(COCA).task
    theirs = {module.eps for module in model.modules() if isinstance(module, torch.nn.LayerNorm)}
    parts = (task["towers"]["image"], task["towers"]["text"], task["decoder"])
    assert theirs == {part["epsilon"] for part in parts} == {build(task, TASKS, "task").model.pooler.epsilon}


@pytest.mark.parametrize("name", ["coca_ViT-B-32", "coca_ViT-L-14", "coca_base"])
def test_every_config_of_open_clip_goes_in_and_out(name):
    config = package_config(name)
    assert family_of("open_clip", {"model_cfg": config}, name) is FAMILY
    there = sections(config)
    back = to_config(FAMILY, there.task, there.image_size)
    assert essentials(sections(back["model_cfg"]).task) == essentials(there.task)
    for part in ("vision_cfg", "text_cfg"):
        same = {key: back["model_cfg"][part].get(key) for key in config[part] if key != "attn_pooler_heads"}
        assert same == {key: value for key, value in config[part].items() if key != "attn_pooler_heads"}
    assert (there.task["towers"]["text"]["begin"], there.task["towers"]["text"]["eos"]) == (49406, 49407)


REFUSED = {
    "vision_cfg.attentional_pool": ("parallel", "vision_cfg.attentional_pool is 'parallel'"),
    "vision_cfg.pool_type": ("avg", "vision_cfg.pool_type is 'avg'; mmjax has this model with 'tok' alone"),
    "vision_cfg.no_ln_pre": (True, "vision_cfg.no_ln_pre is True"),
    "vision_cfg.final_ln_after_pool": (True, "vision_cfg.final_ln_after_pool is True"),
    "vision_cfg.output_tokens": (False, "vision_cfg.output_tokens is False"),
    "vision_cfg.qk_norm": (True, "vision_cfg.qk_norm is True"),
    "vision_cfg.norm_kwargs": ({"eps": 1e-6}, "vision_cfg.norm_kwargs.eps (task.towers.image.epsilon) is 1e-06"),
    "text_cfg.embed_cls": (False, "text_cfg.embed_cls is False; mmjax has this model with True alone"),
    "text_cfg.no_causal_mask": (True, "text_cfg.no_causal_mask is True"),
    "text_cfg.pad_id": (1, "text_cfg.pad_id is 1"),
    "text_cfg.proj_type": ("none", "text_cfg.proj_type is 'none'"),
    "multimodal_cfg.ls_init_value": (1e-5, "multimodal_cfg.ls_init_value is 1e-05"),
    "multimodal_cfg.width": (64, "model_cfg.multimodal_cfg.width is 64"),
    "embed_dim": (24, "model_cfg.embed_dim (task.dim) is 24 and text_cfg.width (task.towers.text.width) 32"),
    "init_logit_bias": (-10, "model_cfg.init_logit_bias is -10"),
    "custom_text": (False, "model_cfg.custom_text is False"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_we_do_not_have_is_refused_by_name(key):
    value, message = REFUSED[key]
    with pytest.raises(UserError) as error:
        sections(with_key(key, value))
    assert message in str(error.value)


@pytest.mark.parametrize("name", ["coca_roberta-ViT-B-32"])
def test_towers_of_other_libraries_are_no_family_of_ours(name):
    with pytest.raises(UserError, match="no family for text_cfg.hf_model_name = 'roberta-base' and multimodal_cfg"):
        family_of("open_clip", {"model_cfg": package_config(name)}, name)


STREAMS = {
    "image": {"name": "image", "size": 32},
    "caption": {"name": "text", "tokenizer": {"name": "hf", "path": "."}, "length": 16},
}
WAYS = {
    "a norm before the pooler": ({"towers.image.final_norm": True}, "towers.image.final_norm = True, it has False"),
    "another width of the space": ({"dim": 24}, "embed_dim (task.dim) is 24"),
    "a wider decoder": ({"decoder.mlp_dim": 100}, "config.task.decoder.mlp_dim = 100, it has 128"),
    "another epsilon": ({"decoder.epsilon": 1e-6}, "config.task.decoder.epsilon = 1e-06, it has 1e-05"),
    "rows that are shorter": ({}, "length = 12, it pads to config.task.towers.text.length = 16"),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_export_refuses_what_open_clip_cannot_express(way):
    changes, message = WAYS[way]
    task = changed(sections(COCA).task, changes)
    streams = {**STREAMS, "caption": {**STREAMS["caption"], "length": 12 if "rows" in way else 16}}
    with pytest.raises(UserError) as error:
        exporter.begin("open_clip", task, streams)
    assert message in str(error.value)


def test_how_it_is_trained_does_not_matter_to_an_export():
    free = {"caption_weight": 1.0, "decoder.dropout": 0.1, "towers.text.begin": 3, "towers.text.scan": True}
    export = exporter.begin("open_clip", changed(sections(COCA).task, free), STREAMS)
    assert export.family is FAMILY
    assert export.config["model_cfg"]["multimodal_cfg"]["width"] == 32


def test_a_tokenizer_that_pads_with_another_id_is_refused(tmp_path):
    """open_clip masks id 0 and nothing else, so what stands behind a text would be read."""
    source = write(PEERS["coca"], random_model(PEERS["coca"]), tmp_path)
    write_tokenizer(tmp_path, 119)
    with pytest.raises(UserError, match=r"the tokenizer pads with 119, but this model masks 0 \(text_cfg.pad_id\)"):
        mmjax.load(source)
