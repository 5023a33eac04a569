"""Config mistakes are refused in one line that names the key, before anything compiles."""

import re

import pytest

from mmjax.config import build, set_key
from mmjax.data.streams import STREAMS
from mmjax.errors import UserError
from mmjax.training.assemble import assemble, check_writing, complete
from mmjax.training.loop import Trainer
from tests.training import toy

MISTAKES = [
    ({"stpes": "3"}, "unknown config key config.stpes; did you mean steps"),
    ({"optimizer.learning_rte": "1"}, "did you mean learning_rate"),
    ({"task.towers.image.widht": "1"}, "config.task.towers.image.widht; did you mean width"),
    ({"task.towers.image.name": "vti"}, "unknown name 'vti'; did you mean vit"),
    ({"task.loss": "infonce"}, "did you mean info_nce"),
    ({"steps": "many"}, "config.steps must be int, got 'many'"),
    ({"steps": "0"}, "config.steps must be at least 1"),
    ({"optimizer.name": "adam"}, "config.optimizer.name must be one of"),
    ({"task.pairs": "(('image', 'text'),)"}, "no tower encodes the stream 'text'"),
    ({"data.streams.caption.length": "30", "task.towers.text.length": "20"}, "gives 30 tokens; raise length to 30"),
    ({"task.towers.text.vocabulary": "100"}, "gives 259 token ids"),
    ({"mesh.data": "3"}, "mesh: data=3, fsdp=1, tensor=1 does not fit 8 devices"),
    ({"batch_size": "12"}, "batch_size 12 does not divide by data x fsdp = 8; 8 or 16 do"),
    ({"data.train": "nowhere/at/all.tar"}, "nowhere/at/all.tar"),
    ({"data.max_skip_rate": "2.0"}, "must lie in"),
    ({"log.profile": "(1,)"}, "log.profile"),
    ({"optimizer.accumulate": "0"}, "batch_size 16 must divide by accumulate x data x fsdp = 0 x 8"),
    ({"optimizer.accumulate": "3"}, "must divide by accumulate x data x fsdp = 3 x 8"),
    ({"data.eval": "none"}, "config.data.eval names no data"),
    ({"checkpoint.best": "retrieval/text_to_image/R@1", "evaluate.every": "0"}, "needs evaluations during training"),
    ({"evaluate.limit": "-1"}, "config.evaluate.limit must not be negative"),
    ({"evaluate.on": "('retrieva',)"}, "did you mean retrieval"),
]


@pytest.mark.parametrize(("overrides", "message"), MISTAKES, ids=[next(iter(o)) for o, _ in MISTAKES])
def test_refused(tmp_path, overrides, message):
    config = toy.get_config()
    for key, text in overrides.items():
        set_key(config, key, text)
    with pytest.raises(UserError) as error:
        assemble(config, tmp_path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("key", ["freeze", "decay"])
def test_a_refused_rule_leaves_no_trace(tmp_path, key):
    """Else the corrected command would be refused as another config."""
    config = toy.get_config()
    config.optimizer[key] = ("imgae",)
    with pytest.raises(UserError, match="matches no parameter"):
        Trainer(assemble(config, tmp_path))
    assert not (tmp_path / "config.json").exists()


def test_the_config_itself_is_fine(tmp_path):
    assemble(toy.get_config(), tmp_path)


TEXT = {"name": "text", "tokenizer": "bytes"}


@pytest.mark.parametrize(
    ("streams", "text", "says"),
    [
        ({"answer": {"lowercase": True}}, {}, "its tokenizer is another than that of 'question'"),
        (
            {},
            {"begin": 7},
            "towers.text.begin is 7, but the tokenizer of config.data.streams.question has 1",
        ),
        ({}, {"eos": None}, "config.task.towers.text.eos is None, but"),
        ({}, {}, None),
    ],
)
def test_a_decoder_that_writes_other_ids_than_its_tokenizer_is_refused(streams, text, says):
    sections = {
        "image": {"name": "image", "size": 16},
        **{name: {**TEXT, "field": name, "length": 16, **streams.get(name, {})} for name in ("question", "answer")},
    }
    made = {name: build(section, STREAMS, name) for name, section in sections.items()}
    size = {"width": 16, "depth": 1, "heads": 2}
    towers = {"image": {"name": "vit", "patch": 8, **size}, "text": {"name": "decoder", "mlp_dim": 16, **size, **text}}
    task = complete(
        {"name": "answer", "towers": towers, "streams": dict(zip(made, ("image", "text", "text"), strict=True))}, made
    )
    if says is None:
        check_writing(task, made)
        assert task["towers"]["text"]["length"] == 32, "question and answer stand in one row"
    else:
        with pytest.raises(UserError, match=re.escape(says)):
            check_writing(task, made)
