"""Frozen parts cost nothing and stay; LoRA trains, resumes and hands back a plain model; averages are linear."""

import json
import re
import signal

import jax
import numpy as np
import pytest
from flax import traverse_util
from flax.core import FrozenDict
from safetensors.numpy import load_file

import mmjax
from mmjax.bundle import blank_batch, shapes_of
from mmjax.cli import main
from mmjax.config import build
from mmjax.data.streams import STREAMS
from mmjax.data.tokenizers import train_bpe
from mmjax.errors import UserError
from mmjax.mesh import MeshShape, make_mesh
from mmjax.models.stacking import stacked_as
from mmjax.tasks import TASKS
from mmjax.tasks.lora import Lora
from mmjax.training.assemble import abstract_batch, assemble
from mmjax.training.average import average
from mmjax.training.loop import Trainer
from mmjax.training.program import computing, global_batch
from mmjax.training.sharding import spec
from mmjax.training.state import abstract_state, initializer
from mmjax.training.step import make_step
from mmjax.training.tree import names
from tests.training import test_resume as runs
from tests.training import test_two_processes as hosts
from tests.training import toy

LORA = ("--config.lora.kernels=('attention/(query|value)/kernel$', 'up/kernel$')", "--config.lora.rank=4")
ALSO = "--config.lora.also=('^project_', '^scale$')"


def wide(freeze, width=64, **optimizer):
    """A config whose parameters outweigh its activations."""
    config = toy.get_config()
    config.batch_size = 8
    for tower in config.task.towers.values():
        tower.width = width
    config.optimizer.update({"freeze": freeze, **optimizer})
    return config


def compiled(config, folder):
    run = assemble(config, folder)
    with computing(run):
        key = jax.device_put(jax.random.key(0), jax.NamedSharding(run.mesh, jax.P()))
        state = abstract_state(initializer(run.task, run.experiment.optimizer, abstract_batch(run)), run.mesh)
        step = jax.jit(make_step(run.task, run.experiment.optimizer, 10), donate_argnums=0)
        return state, step.lower(state, global_batch(run), key).compile().memory_analysis()


def nbytes(tree):
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


@pytest.mark.parametrize("accumulate", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_frozen_parameters_cost_no_gradient_no_moments_and_no_average(tmp_path, monkeypatch, accumulate):
    monkeypatch.setattr("mmjax.tasks.align.Align.coupled", False)  # to see the sums of micro-batches, too
    config = wide((), width=256, accumulate=accumulate)
    config.batch_size = 16
    whole, whole_memory = compiled(config, tmp_path)
    config.optimizer.freeze = ("^towers_",)
    part, part_memory = compiled(config, tmp_path)
    towers = nbytes({k: v for k, v in whole.params.items() if k.startswith("towers_")})
    assert nbytes(whole) - nbytes(part) == 3 * towers  # two moments and the average
    assert whole_memory.argument_size_in_bytes - part_memory.argument_size_in_bytes == 3 * towers
    # What a backward pass through the towers would keep beside their gradients only adds to this.
    assert whole_memory.temp_size_in_bytes - part_memory.temp_size_in_bytes > 0.9 * towers


def test_a_frozen_tower_stays_bit_by_bit(tmp_path):
    """LiT: the image tower is locked, the text tower learns to read it."""
    config = wide(("^towers_image/",), width=16)
    config.evaluate.every = 0
    trainer = Trainer(assemble(config, tmp_path))
    before = jax.device_get(trainer.state.params)
    trainer.train()
    for params in (trainer.state.params, trainer.state.best_params):
        after = jax.device_get(params)
        same = lambda a, b: a.tobytes() == b.tobytes()  # noqa: E731
        assert all(jax.tree.leaves(jax.tree.map(same, after["towers_image"], before["towers_image"])))
        assert not any(jax.tree.leaves(jax.tree.map(same, after["project_image"], before["project_image"])))


@pytest.fixture(scope="module")
def lora_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora")
    runs.finish(runs.start(folder, *LORA, ALSO, steps=30))
    return folder


def test_lora_learns_and_leaves_a_plain_bundle(lora_run):
    losses = list(runs.losses(lora_run).values())
    assert np.mean(losses[-5:]) < 0.97 * np.mean(losses[:5])
    model, task = mmjax.load(lora_run), json.loads((lora_run / "bundle" / "bundle.json").read_text())["task"]
    assert task["name"] == "align" and not isinstance(model.task, Lora)
    assert not any("lora" in name for name in runs.params(lora_run))


def test_lora_trains_its_factors_alone_and_is_evaluated_merged(tmp_path):
    config = toy.get_config()
    config.lora = {"kernels": ("attention/(query|value)/kernel$",), "also": ("^project_",), "rank": 2}
    trainer = Trainer(assemble(config, tmp_path))
    before = jax.device_get(trainer.state.params)
    small = nbytes(trainer.state.ema)
    assert nbytes(trainer.state.opt_state) < 2 * small + 64 and small < 0.5 * nbytes(before)
    trainer.train()
    scores, after = trainer.finish(), jax.device_get(trainer.state.params)
    moved = {name for name, a, b in leaves(before, after) if (a != b).any()}
    assert moved == {n for n, *_ in leaves(before, after) if "_lora_" in n or n.startswith("project_")}
    model = mmjax.load(tmp_path)
    assert scores.keys() >= {"retrieval/text_to_image/mAP"}
    batch = next(iter(trainer.run.eval_data.batches("image")))
    ours = trainer.run.task.encode(trainer.state.best_params, jax.device_put(batch), None)["image"]
    np.testing.assert_allclose(model.task.embed(model.params, batch)["image"], ours, atol=1e-5)


def leaves(before, after):
    return zip(names(before), jax.tree.leaves(before), jax.tree.leaves(after), strict=True)


@pytest.mark.slow
def test_a_killed_lora_run_resumes_exactly(tmp_path, lora_run):
    process = runs.start(tmp_path, *LORA, ALSO, steps=30)
    runs.wait_for_step(process, tmp_path, 13)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    runs.finish(runs.start(tmp_path, *LORA, ALSO, steps=30))
    runs.assert_same_run(tmp_path, lora_run)


def test_lora_starts_from_a_model(tmp_path, lora_run, monkeypatch):
    """The factors are drawn, the rest is the source's, merged as it was."""
    monkeypatch.setattr("mmjax.training.loop.compile_step", lambda *_: None)
    config = toy.get_config()
    config.init_from = str(lora_run)
    config.lora = {"kernels": ("attention/(query|value)/kernel$",)}
    trainer = Trainer(assemble(config, tmp_path))
    jax.tree.map(np.testing.assert_array_equal, trainer.model().params, mmjax.load(lora_run).params)


@pytest.mark.slow
def test_two_processes_go_on_as_one_does(tmp_path, lora_run):
    """Each host puts its own devices' shards; the merged model is gathered from both."""
    options = (*LORA, ALSO, f"--config.init_from={lora_run}")
    runs.finish(runs.start(tmp_path / "one", *hosts.FLAGS, *options, steps=3))
    meshed = (*options, "--config.mesh.data=2", "--config.mesh.fsdp=2")
    for process in hosts.start_pair(tmp_path / "two", *meshed, steps=3):
        runs.finish(process)
    one, two = (runs.losses(tmp_path / name) for name in ("one", "two"))
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=1e-5)
    assert runs.params(tmp_path / "two").keys() == runs.params(lora_run).keys()


@pytest.mark.parametrize(
    ("kernel", "shape"), [("query", (16, 32)), ("down", (32, 16)), ("project_image", (16, 8)), ("query", (2, 16, 32))]
)
def test_factors_are_split_as_their_kernel_is(kernel, shape):
    mesh = make_mesh(MeshShape(2, 2, 2))
    *depth, rows, columns = spec(f"{kernel}/kernel", shape, mesh)
    first = spec(f"{kernel}/kernel_lora_a", (*shape[:-1], 4), mesh)
    second = spec(f"{kernel}/kernel_lora_b", (*shape[:-2], 4, shape[-1]), mesh)
    pad = lambda axes: [*axes, *[None] * (len(shape) - len(axes))]  # noqa: E731
    assert pad(first) == [*depth, rows, None] and pad(second) == [*depth, None, columns]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two models of one architecture."""
    folders = []
    for seed in (0, 1):
        config, folder = toy.get_config(), tmp_path_factory.mktemp(f"model{seed}")
        config.seed = seed
        config.steps = 1
        config.evaluate.every = 0
        run = assemble(config, folder)
        with jax.set_mesh(run.mesh):
            params = run.task.init(jax.random.key(seed), abstract_batch(run))
        sections = {"task": run.task_section, "streams": run.stream_sections, "config": run.config}
        mmjax.save(folder / "bundle", mmjax.Model(run.task, params, run.streams, sections))
        folders.append(str(folder))
    return folders


def tensors(folder):
    return load_file(f"{folder}/params.safetensors")


@pytest.mark.parametrize("end", [0, 1])
def test_the_ends_of_an_average_are_the_models(tmp_path, pair, end):
    weights = f"{1 - end},{end}"
    assert main(["average", "--models", ",".join(pair), "--weights", weights, str(tmp_path / "out")]) == 0
    ours, theirs = tensors(tmp_path / "out"), tensors(f"{pair[end]}/bundle")
    assert {name: x.tobytes() for name, x in ours.items()} == {name: x.tobytes() for name, x in theirs.items()}


def test_an_average_is_linear(tmp_path, pair):
    first, second = (tensors(f"{folder}/bundle") for folder in pair)
    for weights in ("0.25,0.75", "-0.5,1.5"):
        a, b = map(float, weights.split(","))
        assert main(["average", "--models", ",".join(pair), f"--weights={weights}", str(tmp_path / weights)]) == 0
        for name, value in tensors(tmp_path / weights).items():
            expected = a * np.float64(first[name]) + b * np.float64(second[name])
            np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)
    assert main(["average", "--models", ",".join([*pair, pair[0]]), str(tmp_path / "soup")]) == 0
    soup = mmjax.load(tmp_path / "soup")
    np.testing.assert_allclose(soup.params["scale"], (2 * first["scale"] + second["scale"]) / 3, rtol=1e-6)
    assert soup.config["average"][2] == [pair[0], pytest.approx(1 / 3)]
    assert soup.embed(text=["red 200"]).shape == (1, 8)


def test_averages_that_are_refused(tmp_path, pair, capsys):
    with pytest.raises(UserError, match="add up to 1.5, not 1"):
        average(pair, [1.0, 0.5])
    with pytest.raises(UserError, match="two models or more"):
        average(pair[:1], [1.0])
    assert main(["average", "--models", ",".join(pair), "--weights", "a,b", str(tmp_path / "out")]) == 2
    assert "--weights a,b: numbers" in capsys.readouterr().err


def with_task(folder, out, towers=FrozenDict(), **changes):
    """A copy of a model under another task section; its parameters in the form that this gives stacks."""
    model = mmjax.load(folder)
    task = {**model.config["task"], **changes}
    task["towers"] = {name: {**tower, **towers.get(name, {})} for name, tower in task["towers"].items()}
    built = build(task, TASKS, "task")
    flat = traverse_util.flatten_dict(model.params, sep="/")
    params = traverse_util.unflatten_dict(stacked_as(flat, shapes_of(built, model.streams)), sep="/")
    config = {**model.config, "task": task}
    return str(mmjax.save(out, mmjax.Model(built, params, model.streams, config)))


TRAINED_OTHERWISE = [
    {"loss": "sigmoid"},
    {"soft": 0.2},
    {"towers": {"image": {"drop_path": 0.1, "dropout": 0.1, "remat": "full"}}},
    {"towers": {"text": {"dropout": 0.1, "attention": "xla"}}},
    {"towers": {"image": {"scan": True}, "text": {"scan": True}}},
]


@pytest.mark.parametrize("changes", TRAINED_OTHERWISE)
def test_models_that_only_trained_otherwise_are_averaged(tmp_path, pair, changes):
    other = with_task(pair[1], tmp_path / "other", **changes)
    expected = flat(average(pair, [0.5, 0.5]))
    for sources in ([pair[0], other], [other, pair[0]]):
        found = average(sources, [0.5, 0.5])
        assert found.embed(text=["red 200"]).shape == (1, 8)
        mean = stacked_as(flat(found), expected)
        assert mean.keys() == expected.keys()
        for name, value in mean.items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)


def flat(model):
    return {name: np.asarray(x) for name, x in traverse_util.flatten_dict(model.params, sep="/").items()}


DIFFERENT = [
    ({"image": {"activation": "quick_gelu"}}, "task.towers.image.activation: 'gelu.*' and 'quick_gelu'"),
    ({"image": {"mean": (0.1, 0.2, 0.3)}}, "task.towers.image.mean: .* and .0.1, 0.2, 0.3."),
    ({"text": {"causal": True}}, "task.towers.text.causal: False and True"),
]


@pytest.mark.parametrize(("towers", "message"), DIFFERENT)
def test_models_that_compute_otherwise_are_not_averaged(tmp_path, pair, towers, message):
    other = with_task(pair[1], tmp_path / "other", towers)
    with pytest.raises(UserError, match=f"different models: {message}"):
        average([pair[0], other], [0.5, 0.5])


def with_streams(folder, out, streams, reads):
    """A copy of a model with other transforms and new parameters."""
    model = mmjax.load(folder)
    built = {name: build(section, STREAMS, name) for name, section in streams.items()}
    section = {**model.config["task"], "streams": reads, "pairs": (tuple(reads),)}
    task = build(section, TASKS, "task")
    params = task.init(jax.random.key(0), blank_batch(built, 1))
    config = {**model.config, "task": section, "streams": streams}
    return str(mmjax.save(out, mmjax.Model(task, params, built, config)))


@pytest.mark.slow
def test_models_of_other_shapes_are_not_averaged(tmp_path, pair):
    model = mmjax.load(pair[0]).config
    streams = {**model["streams"], "image": {**model["streams"]["image"], "size": 16}}
    other = with_streams(pair[0], tmp_path / "other", streams, model["task"]["streams"])
    with pytest.raises(UserError, match="differ in the shapes of towers_image/position_table"):
        average([pair[0], other], [0.5, 0.5])


def test_a_tokenizer_is_known_by_the_tower_that_it_feeds(tmp_path, pair):
    """Not by the name of its stream, which a model of another origin has otherwise."""
    streams = mmjax.load(pair[0]).config["streams"]
    reads = {"image": "image", "text": "text"}
    alike = with_streams(pair[0], tmp_path / "alike", {"image": streams["image"], "text": streams["caption"]}, reads)
    assert average([pair[0], alike], [0.5, 0.5]).embed(text=["red 200"]).shape == (1, 8)
    tokenizer = {"name": "bpe", "path": str(train_bpe(["red green blue"], 330, tmp_path / "bpe"))}
    other = {"image": streams["image"], "text": {**streams["caption"], "tokenizer": tokenizer}}
    with pytest.raises(UserError, match="different models: the tokenizer of text"):
        average([pair[0], with_streams(pair[0], tmp_path / "other", other, reads)], [0.5, 0.5])


def test_flags_of_a_regex_are_its_own():
    lora = Lora(None, ("query/kernel$",), also=("(?i)^PROJECT_", "^scale$"))
    names = ("project_image/kernel", "scale", "SCALE", "query/kernel", "query/kernel_lora_a", "towers/project_x")
    assert [name for name in names if re.search(lora.frozen, name)] == ["SCALE", "query/kernel", "towers/project_x"]
    with pytest.raises(ValueError, match=r"'\(a' is no regular expression"):
        Lora(None, ("query/kernel$",), also=("(a",))
