"""A source, an encoder, a loss and a task from outside the package train, evaluate and load like mmjax's own."""

import numpy as np
import pytest

import mmjax
from mmjax.errors import UserError
from mmjax.training.assemble import assemble
from mmjax.training.loop import Trainer
from mmjax.training.metrics import read
from tests.training import toy


def train(config, folder):
    trainer = Trainer(assemble(config, folder))
    assert trainer.train() == 0
    return trainer.finish()


def losses(folder):
    return [line["train/loss"] for line in read(folder / "metrics.jsonl") if "train/loss" in line]


def test_an_encoder_and_a_loss(tmp_path):
    config = toy.get_config()
    config.task.towers.image = {"name": "tests.my_lab.towers:Average", "width": 24}
    config.task.loss = {"name": "tests.my_lab.losses:squared_distance", "weight": 2.0}
    scores = train(config, tmp_path)
    assert losses(tmp_path)[-1] < losses(tmp_path)[0]
    assert scores["retrieval/text_to_image/queries"] == 40
    model = mmjax.load(tmp_path)
    image = np.full((8, 8, 3), 200, np.uint8)
    assert model.embed(image=[image]).shape == model.embed(text=["red 200"]).shape == (1, 8)


def test_a_task_which_accumulates(tmp_path):
    config = toy.get_config("task")
    train(config, tmp_path / "whole")
    config.optimizer.accumulate = 2
    train(config, tmp_path / "parts")
    np.testing.assert_allclose(losses(tmp_path / "parts"), losses(tmp_path / "whole"), rtol=1e-4)
    assert losses(tmp_path / "whole")[-1] < losses(tmp_path / "whole")[0]


@pytest.mark.parametrize("name", ["tests.my_lab.towers:Averag", "tests.my_labs:Average"])
def test_a_name_that_cannot_be_imported(tmp_path, name):
    config = toy.get_config()
    config.task.towers.image = {"name": name}
    with pytest.raises(UserError, match="config.task.towers.image"):
        assemble(config, tmp_path)
