"""What the loop keeps, writes and refuses while it trains."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mmjax
from mmjax.errors import RunError, UserError
from mmjax.evaluation.runner import evaluate
from mmjax.training.assemble import assemble
from mmjax.training.loop import Trainer
from mmjax.training.metrics import read
from mmjax.training.profile import Profiler
from tests.my_lab.tasks import MeanColour
from tests.training import toy


@dataclasses.dataclass(frozen=True)
class Diverging(MeanColour):
    """Never finite from the first step on."""

    def loss(self, params, features, batch, rng):
        loss = super().loss(params, features, batch, rng)
        return loss.replace(total=loss.total * jnp.nan)


@dataclasses.dataclass(frozen=True)
class Refusing(MeanColour):
    """Finds in its loss, which nothing before the step computes, that it cannot work."""

    def loss(self, params, features, batch, rng):
        raise UserError("config.task: no loss")


def train(config, folder):
    trainer = Trainer(assemble(config, folder))
    assert trainer.train() == 0
    return trainer


def test_a_step_that_does_not_compile_leaves_no_trace(tmp_path):
    config = toy.get_config("task")
    config.task = {"name": "tests.training.test_loop:Refusing"}
    with pytest.raises(UserError, match="no loss"):
        train(config, tmp_path)
    assert not (tmp_path / "config.json").exists()


def test_steps_that_are_not_finite_stop_the_run(tmp_path):
    config = toy.get_config("task")
    config.task = {"name": "tests.training.test_loop:Diverging"}
    config.max_bad_steps = 3
    for _ in range(2):  # the second starts from the beginning, as there is no checkpoint, and lists nothing twice
        with pytest.raises(RunError, match="3 steps in a row"):
            train(config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "bad_steps_0.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[0]["source"] == "shades" and len(lines[0]["index"]) == 16
    assert (tmp_path / "bad_batch_3_0.npz").exists()
    assert read(tmp_path / "metrics.jsonl")[0]["train/loss"] is None


def test_a_step_copies_nothing_to_the_devices_unasked(tmp_path, monkeypatch):
    """A batch that the feed did not put there would travel again at every step, unseen."""
    monkeypatch.setattr("mmjax.training.feed.put_batch", lambda batch, mesh: batch)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
        train(toy.get_config(), tmp_path)


def test_bad_items_are_listed_and_change_no_count(tmp_path):
    config = toy.get_config()
    config.data.train.bad = (3, 5)
    config.data.max_skip_rate = 0.5
    trainer = train(config, tmp_path)
    listed = [json.loads(line)["index"] for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert sorted(listed) == [3, 5]
    assert read(tmp_path / "metrics.jsonl")[-1]["step"] == 12
    assert trainer.ledger.count == 2


def test_bad_items_of_an_evaluation_are_listed_beside_those_of_training(tmp_path):
    config = toy.get_config()
    config.data.train.bad = (3,)
    config.data.eval.bad = (1, 3)
    config.data.max_skip_rate = 0.04  # of the training data alone
    trainer = train(config, tmp_path)
    assert trainer.finish()["skipped"] == 2
    listed = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert {(line["source"], line["index"]) for line in listed} == {
        ("shades", 3),
        *((f"data.{key}: shades", index) for key in ("eval", "test") for index in (1, 3)),
    }
    assert len(listed) == 5


def test_too_many_bad_items_stop_the_run(tmp_path):
    config = toy.get_config()
    config.data.train.bad = (3, 5)
    with pytest.raises(RunError, match=r"max_skip_rate 0\.01"):
        train(config, tmp_path)


def test_what_is_kept(tmp_path):
    config = toy.get_config()
    config.checkpoint = {"every": 2, "keep_last": 1, "keep_every": 6, "best": "retrieval/text_to_image/mAP"}
    config.evaluate.every = 4
    train(config, tmp_path)
    scores = {
        line["step"]: line["eval/retrieval/text_to_image/mAP"]
        for line in read(tmp_path / "metrics.jsonl")
        if "eval/retrieval/text_to_image/mAP" in line
    }
    assert scores.keys() == {4, 8, 12}
    best = max(scores, key=lambda step: (scores[step], step))
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()}
    assert kept == {6, 12, best}


def test_the_latest_checkpoints_are_kept(tmp_path):
    config = toy.get_config()
    config.checkpoint = {"every": 2, "keep_last": 3}
    config.evaluate.every = 0
    train(config, tmp_path)
    assert {int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()} == {8, 10, 12}


def test_an_error_of_a_save_surfaces_at_the_next_step(tmp_path, monkeypatch):
    trainer = Trainer(assemble(toy.get_config(), tmp_path))

    def check():
        if trainer.checkpoints.latest():
            raise OSError("disk full")

    monkeypatch.setattr(trainer.checkpoints._manager, "check_for_errors", check)
    with pytest.raises(OSError, match="disk full"):
        trainer.train()
    assert read(tmp_path / "metrics.jsonl")[-1]["step"] == 4, "not only when the next checkpoint is due, at 8"


def test_the_board_is_written(tmp_path):
    config = toy.get_config()
    config.log.tensorboard = True
    train(config, tmp_path)
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.fixture
def traces(monkeypatch):
    """What the profiler does instead of tracing: ("start", folder) and ("stop",), in between the steps' numbers."""
    calls = []
    monkeypatch.setattr("jax.profiler.start_trace", lambda folder: calls.append("start"))
    monkeypatch.setattr("jax.profiler.stop_trace", lambda: calls.append("stop"))
    return calls


@pytest.mark.parametrize(
    ("steps", "touched", "expected"),
    [
        ((2, 3), (), [0, 1, "start", 2, 3, "stop", 4, 5, 6, 7, 8]),
        ((), (1,), [0, "start", 1, 2, 3, 4, 5, "stop", 6, 7, 8]),
        ((5, 5), (0,), ["start", 0, 1, 2, 3, 4, "stop", "start", 5, "stop", 6, 7, 8]),
        ((8, 20), (), [0, 1, 2, 3, 4, 5, 6, 7, "start", 8, "stop"]),
    ],
)
def test_chosen_steps_are_traced(tmp_path, traces, steps, touched, expected):
    profiler = Profiler(tmp_path, steps)
    for step in range(9):
        if step in touched:
            (tmp_path / "profile").touch()
        profiler.at(step, jnp.zeros(()))
        traces.append(step)
    profiler.close()
    assert traces == expected
    assert not (tmp_path / "profile").exists(), "the touched file has been served"


@pytest.mark.slow
def test_a_run_leaves_the_trace_that_its_config_asks_for(tmp_path):
    config = toy.get_config()
    config.log.profile = (2, 3)
    train(config, tmp_path)
    assert list((tmp_path / "traces").rglob("*.xplane.pb"))


def test_no_batch_is_made_beyond_the_last_step(tmp_path):
    """What only step 3 would have shown is not listed after two."""
    config = toy.get_config()
    config.steps = 2
    batch = assemble(config, tmp_path / "look").loader.plan.make(2, 0, 1).batch
    config.data.train.bad = (int(batch.index[0]),)
    assert train(config, tmp_path).ledger.count == 0


def test_timing_accounts_for_the_wall_time(tmp_path):
    train(toy.get_config(), tmp_path)
    last = read(tmp_path / "timing.jsonl")[-1]
    parts = {name: value for name, value in last.items() if name.startswith("goodput/")}
    assert parts.keys() == {f"goodput/{part}" for part in ("compile", "data", "step", "save", "evaluate")}
    assert 0.5 < sum(parts.values()) <= 1.0
    assert last["examples_per_second"] > 0 and last["flops_per_second"] > 0
    assert "mfu" not in last, "no peak is known for a CPU"


def test_the_time_of_earlier_starts_counts(tmp_path):
    """A finished run that is started again has not spent all its time on evaluating."""
    train(toy.get_config(), tmp_path)
    last = read(tmp_path / "timing.jsonl")[-1]
    again = Trainer(assemble(toy.get_config(), tmp_path))
    assert again.train() == 0
    again.finish()
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert again.clock.wall() > last["wall_seconds"]
    step = last["goodput/step"] * last["wall_seconds"]
    assert environment["goodput/step"] * again.clock.wall() == pytest.approx(step, rel=0.1)


def test_the_average_is_what_is_evaluated_and_exported(tmp_path):
    trainer = train(toy.get_config(), tmp_path)
    run, state, scores = trainer.run, trainer.state, trainer.finish()
    of = {name: evaluate(run.task, getattr(state, name), run.test_data, run.evaluators) for name in ("params", "ema")}
    assert scores == pytest.approx(of["ema"]) and scores != pytest.approx(of["params"])
    exported, average = (jax.tree.leaves(tree) for tree in (mmjax.load(tmp_path).params, state.ema))
    for ours, theirs in zip(exported, average, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_bundle_writes_out_every_default(tmp_path):
    config = toy.get_config()
    trainer = train(config, tmp_path)
    trainer.finish()
    tower = json.loads((tmp_path / "bundle" / "bundle.json").read_text())["task"]["towers"]["image"]
    assert (tower["activation"], tower["epsilon"], tower["mean"]) == ("gelu", 1e-6, [0.5, 0.5, 0.5])
    assert mmjax.load(tmp_path).task.model == trainer.run.task.model
