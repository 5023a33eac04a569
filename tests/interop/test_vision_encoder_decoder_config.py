"""ViT + GPT-2: which of transformers' models are in the family, by the keys that keep others out."""

import copy
import json

import pytest

import mmjax
from mmjax.errors import UserError
from mmjax.interop import FAMILIES, exporter
from mmjax.interop.config_map import essentials, to_config, to_sections
from mmjax.interop.tokenizers import frame_of, text_differences, written_section
from tests.interop.captioners import START, make
from tests.interop.comparing import changed
from tests.interop.peers import EOS, LENGTH, SIDE, write_tokenizer
from tests.interop.toy_tokenizers import gpt2

FAMILY = FAMILIES["vision_encoder_decoder"]


def sections(config, names=()):
    return to_sections(FAMILY, config, names)


@pytest.fixture(scope="module")
def config():
    """With all defaults, as an import reads it."""
    return json.loads(make().config.to_json_string(use_diff=False))


def with_key(config, key, value):
    config = copy.deepcopy(config)
    *parents, last = key.split(".")
    place = config
    for parent in parents:
        place = place[parent]
    place[last] = value
    return config


REFUSED = {
    "encoder.model_type": ("deit", "encoder.model_type is 'deit'; mmjax has this model with 'vit' alone"),
    "decoder.model_type": ("bert", "decoder.model_type is 'bert'; mmjax has this model with 'gpt2' alone"),
    "encoder.num_channels": (1, "encoder.num_channels is 1"),
    "encoder.hidden_act": ("silu", "encoder.hidden_act is 'silu'"),
    "decoder.add_cross_attention": (False, "decoder.add_cross_attention is False"),
    "decoder.tie_word_embeddings": (False, "decoder.tie_word_embeddings is False"),
    "decoder.scale_attn_weights": (False, "decoder.scale_attn_weights is False"),
    "decoder.scale_attn_by_inverse_layer_idx": (True, "decoder.scale_attn_by_inverse_layer_idx is True"),
    "decoder.cross_attention_hidden_size": (24, "decoder.cross_attention_hidden_size is 24"),
    "decoder.activation_function": ("silu", "decoder.activation_function is 'silu'"),
    "eos_token_id": ([119, 3], "eos_token_id is [119, 3]"),
}


@pytest.mark.parametrize("key", REFUSED)
def test_what_we_do_not_have_is_refused_by_name(key, config):
    value, message = REFUSED[key]
    with pytest.raises(UserError) as error:
        sections(with_key(config, key, value))
    assert message in str(error.value)


def test_a_decoder_with_nothing_to_begin_with_is_refused(config):
    config = with_key(with_key(config, "decoder_start_token_id", None), "decoder.bos_token_id", None)
    with pytest.raises(UserError, match=r"task.towers.text.begin must be .*, got 'an id'"):
        sections(config)


STREAMS = {
    "image": {"name": "image", "size": SIDE},
    "caption": {"name": "text", "tokenizer": {"name": "hf", "path": "."}, "length": LENGTH},
}
WAYS = {
    "a map between equal widths": (
        {"towers.image.width": 32, "towers.image.heads": 4},
        "connection.connector = 'linear', it has 'none'",
    ),
    "pictures before the text": ({"connection.reads": "prefix"}, "connection.reads = 'prefix', it has 'cross'"),
    "no class token": ({"towers.image.pooling": "mean"}, "towers.image.pooling = 'mean', it has 'class'"),
    "a resampler": ({"connection.connector": "resampler"}, "connection.connector = 'resampler', it has 'linear'"),
    "questions": ({"prompt": "question"}, "config.task.prompt = True, it has False"),
    "rotary positions": ({"towers.text.positions": "rotary"}, "towers.text.positions = 'rotary', it has 'learned'"),
    "shared heads": ({"towers.text.kv_heads": 2}, "towers.text.kv_heads = 2, it has 4"),
    "an untied head": ({"towers.text.tied": False}, "towers.text.tied = False, it has True"),
    "nothing to begin with": ({"towers.text.begin": None}, "towers.text.begin = None, it has 'an id'"),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_export_refuses_what_cannot_be_expressed(way, config):
    changes, message = WAYS[way]
    with pytest.raises(UserError) as error:
        exporter.begin("hf", changed(sections(config).task, changes), STREAMS)
    assert message in str(error.value)


def test_how_it_is_trained_does_not_matter_to_an_export(config):
    free = {"smoothing": 0.1, "parallel": 0.5, "towers.text.dropout": 0.1, "towers.text.scan": True, "image": "photo"}
    free |= {"streams": {"photo": "image", "caption": "text"}, "towers.image.head": "tanh"}
    task = changed({k: v for k, v in sections(config).task.items() if k != "streams"}, free)
    export = exporter.begin("hf", task, {**STREAMS, "photo": STREAMS["image"]})
    assert export.family is FAMILY
    back = to_config(FAMILY, sections(config).task, SIDE)
    assert export.config == back
    assert essentials(sections(back).task) == essentials(sections(config).task)


def test_a_frame_around_texts_that_have_none(tmp_path):
    """GPT-2's tokenizer puts nothing around a text."""
    gpt2(tmp_path)
    assert frame_of(str(tmp_path), 0, 0) == "both"
    section = written_section(str(tmp_path), 12, {"begin": 0, "eos": 0})
    row = mmjax.data.streams.TextStream(**{k: v for k, v in section.items() if k != "name"})(("a cat",), None)
    ids = row["data"][row["mask"]]
    assert ids[0] == ids[-1] == 0 and 0 not in ids[1:-1]
    assert "frame is 'both'" in text_differences("hf", section, LENGTH)[0]
    assert not text_differences("hf", {**section, "tokenizer": {"name": "hf", "path": "."}}, LENGTH)


def test_no_frame_around_texts_that_have_one(tmp_path):
    write_tokenizer(tmp_path, EOS)
    assert frame_of(str(tmp_path), START, EOS) is None


@pytest.mark.parametrize(
    ("ids", "message"), [((5, 0), "begin is 0, but the decoder's is 5"), ((0, 7), "end is 0, but")]
)
def test_a_tokenizer_with_other_ids_is_refused(ids, message, tmp_path):
    gpt2(tmp_path)
    with pytest.raises(UserError, match=message):
        frame_of(str(tmp_path), *ids)
