"""`init_from`: what is loaded is exactly what was said, everywhere the same, and only at the first start."""

import dataclasses
import logging

import jax
import numpy as np
import pytest
from flax import traverse_util
from ml_collections import ConfigDict

import mmjax
from mmjax.config import plain
from mmjax.errors import UserError
from mmjax.mesh import MeshShape, make_mesh
from mmjax.models.stacking import unstack
from mmjax.training.assemble import assemble
from mmjax.training.loop import Trainer
from mmjax.training.metrics import read
from tests.training import toy

BPE = {"name": "text", "tokenizer": {"name": "bpe", "size": 330}, "length": 24}


def trainer_of(config, folder, mesh=None):
    run = assemble(config, folder)
    return Trainer(run if mesh is None else dataclasses.replace(run, mesh=mesh))


@pytest.fixture
def first_state(monkeypatch):
    """The state that a config begins with; the step is not compiled."""
    monkeypatch.setattr("mmjax.training.loop.compile_step", lambda *_: None)
    return lambda config, folder: trainer_of(config, folder).state


def flat(params):
    return {name: np.asarray(x) for name, x in traverse_util.flatten_dict(params, sep="/").items()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run folder with its bundle."""
    config, folder = toy.get_config(), tmp_path_factory.mktemp("source")
    config.steps = 3
    config.evaluate.every = 0
    trainer = trainer_of(config, folder)
    trainer.train()
    trainer.finish()
    return folder


def toy_from(value, **image):
    config = toy.get_config()
    config.task.towers.image.update(image)
    config.init_from = value
    return config


@pytest.mark.parametrize("scan", [False, True])
def test_a_whole_model(tmp_path, source, first_state, scan):
    """Parameters and average are the source's, each device holds its shard, whichever form the stacks have."""
    config = toy_from(str(source), scan=scan)
    config.mesh = {"data": 2, "fsdp": 2, "tensor": 2}
    state = first_state(config, tmp_path)
    expected = mmjax.load(source)
    stack = state.params["towers_image"]["transformer"]
    kernel = stack["blocks"]["mlp"]["up"]["kernel"] if scan else stack["blocks_1"]["mlp"]["up"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size / 4 and kernel.dtype == np.float32
    actual, average = flat(state.params), flat(state.ema)
    assert any("/blocks/" in name for name in actual) == scan
    for name, value in unstack(actual).items():
        np.testing.assert_array_equal(value, flat(expected.params)[name])
    for name, value in flat(state.params).items():
        np.testing.assert_array_equal(average[name], value)


@pytest.mark.slow
def test_the_first_losses_go_on_from_the_source_on_any_devices(tmp_path, source):
    def losses(name, mesh):
        config = toy_from(str(source))
        config.steps = 3
        config.matmul_precision = "highest"
        config.optimizer = {"name": "sgd", "learning_rate": 0.05, "warmup": 0.0}
        trainer_of(config, tmp_path / name, mesh).train()
        return [line["train/loss"] for line in read(tmp_path / name / "metrics.jsonl") if "train/loss" in line]

    eight = losses("eight", make_mesh(MeshShape(2, 2, 2)))
    one = losses("one", make_mesh(MeshShape(1, 1, 1), jax.devices()[:1]))
    np.testing.assert_allclose(eight, one, rtol=1e-5)


def test_one_tower_into_a_model_with_a_new_head(tmp_path, source, first_state):
    start = {"source": str(source), "take": "towers_image", "drop": ("norm_after/",)}
    config = toy_from((start | {"new": ("^towers_text/", "^project_", "^scale$", "image/norm_after/")},))
    state, drawn = first_state(config, tmp_path / "a"), first_state(toy_from(None), tmp_path / "b")
    theirs, ours, fresh = flat(mmjax.load(source).params), flat(state.params), flat(drawn.params)
    for name, value in ours.items():
        loaded = name.startswith("towers_image") and "norm_after" not in name
        np.testing.assert_array_equal(value, theirs[name] if loaded else fresh[name])


MISTAKES = [
    ({}, {"depth": 3}, "missing: towers_image/transformer/blocks_2/attention/key/bias"),
    ({}, {"depth": 3}, "and 8 more"),
    ({}, {"depth": 1}, "unexpected: towers_image/transformer/blocks_1/attention/key/bias"),
    ({}, {"mlp_dim": 20}, "blocks_0/mlp/down/kernel is (64, 16), should be (20, 16)"),
    ({"new": ("^head",)}, {}, "config.init_from.new: '^head' matches no parameter"),
    ({"drop": ("^head",)}, {}, "config.init_from.drop: '^head' matches no parameter"),
    ({"take": "towers_imgae"}, {}, "has nothing under 'towers_imgae'; it has project_image, project_text"),
    ({"take": "towers_image"}, {}, "missing: project_image/kernel"),
    ({"take": "towers_image", "into": ""}, {}, "unexpected: norm_after/bias"),
    ({"into": "towers_image"}, {}, "unexpected: towers_image/project_image/kernel"),
    ({"source": "nowhere"}, {}, "nowhere"),
    ({"sources": "nowhere"}, {}, "unknown config key config.init_from.sources; did you mean source"),
]


@pytest.mark.parametrize(("start", "image", "message"), MISTAKES)
def test_strict(tmp_path, source, monkeypatch, start, image, message):
    monkeypatch.setattr("mmjax.training.loop.compile_step", lambda *_: pytest.fail("compiled before it was checked"))
    config = toy_from({"source": str(source)} | start, **image)
    with pytest.raises(UserError) as error:
        trainer_of(config, tmp_path)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "config.json").exists()


FROZEN = [("^project_",), ("kernel$",), ("^towers_", "^project_text")]


@pytest.mark.parametrize("freeze", FROZEN)
def test_what_is_drawn_and_frozen_would_stay_random(tmp_path, source, monkeypatch, freeze):
    monkeypatch.setattr("mmjax.training.loop.compile_step", lambda *_: pytest.fail("compiled before it was checked"))
    config = toy_from({"source": str(source), "new": ("^project_text/",), "drop": ("^project_text/",)})
    config.optimizer.freeze = freeze
    with pytest.raises(
        UserError, match="config.init_from.new: project_text/kernel would be drawn at random and stay so"
    ):
        trainer_of(config, tmp_path)


def test_what_a_lora_freezes_is_not_drawn_unless_it_is_also_trained(tmp_path, source, first_state):
    config = toy_from({"source": str(source), "new": ("^project_text/",), "drop": ("^project_text/",)})
    config.lora = {"kernels": ("attention/(query|value)/kernel$",)}
    with pytest.raises(UserError, match="project_text/kernel would be drawn at random and stay so"):
        first_state(config, tmp_path)
    config.lora.also = ("^project_",)
    first_state(config, tmp_path)


def test_one_parameter_from_two_sources(tmp_path, source):
    with pytest.raises(UserError, match="would come from two sources"):
        trainer_of(toy_from((str(source), str(source))), tmp_path)


def test_a_resume_reads_no_source_and_refuses_another(tmp_path, source, monkeypatch):
    config = toy_from(str(source))
    config.steps = 2
    trainer_of(config, tmp_path).train()
    config.steps = 4
    with pytest.raises(UserError, match="steps: 2 → 4"):
        trainer_of(config, tmp_path)
    config.steps = 2
    monkeypatch.setattr("mmjax.bundle.load", lambda *_: pytest.fail("read again"))
    trainer_of(config, tmp_path)
    config.init_from = "elsewhere"
    with pytest.raises(UserError, match="init_from: .*source.* → elsewhere"):
        trainer_of(config, tmp_path)


def test_sections_of_a_bundle_make_the_same_model(tmp_path, source):
    sections = mmjax.sections(source)
    config = toy_from(str(source))
    config.task = ConfigDict(sections["task"])
    config.data.streams = ConfigDict(sections["streams"])
    run = assemble(config, tmp_path)
    assert run.task.model == mmjax.load(source).task.model
    assert plain(run.stream_sections) == plain(mmjax.load(source).config["streams"])


@pytest.mark.usefixtures("first_state")
def test_sections_name_the_tokenizer_where_it_lies(tmp_path):
    config = toy.get_config()
    config.data.streams.caption = ConfigDict(BPE)
    trainer = trainer_of(config, tmp_path / "run")
    mmjax.save(tmp_path / "run" / "bundle", trainer.model())
    tokenizer = mmjax.sections(tmp_path / "run")["streams"]["caption"]["tokenizer"]
    assert tokenizer["path"] == str((tmp_path / "run" / "bundle" / "tokenizers" / "caption").resolve())


@pytest.mark.usefixtures("first_state")
@pytest.mark.parametrize(
    ("start", "stream", "told"),
    [
        ({}, "caption", True),
        ({}, "words", True),
        ({"new": ("embedding/",)}, "caption", False),
        ({"take": "towers_text", "new": ("^towers_image", "^project_", "^scale$")}, "words", True),
        ({"take": "towers_image", "new": ("^towers_text", "^project_", "^scale$")}, "words", False),
    ],
)
def test_another_tokenizer_is_told_where_its_table_is_taken(tmp_path, caplog, start, stream, told):
    """Both tables have room for either's ids, so no shape tells; and the tower tells, whatever its stream is called."""
    config = toy.get_config()
    config.task.towers.text.vocabulary = 400
    mmjax.save(tmp_path / "bytes", trainer_of(config, tmp_path / "run").model())
    config.init_from = {"source": str(tmp_path / "bytes"), **start}
    config.data.streams = ConfigDict({"image": config.data.streams.image, stream: {**BPE, "field": "caption"}})
    config.task.streams = ConfigDict({"image": "image", stream: "text"})
    config.task.pairs = (("image", stream),)
    with caplog.at_level(logging.WARNING):
        trainer_of(config, tmp_path / "other")
    assert (f"config.data.streams.{stream}: not the tokenizer" in caplog.text) == told
