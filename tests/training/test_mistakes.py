"""Config mistakes are refused in one line that names the key, before anything compiles."""

import pytest

from mmjax.config import set_key
from mmjax.errors import UserError
from mmjax.training.assemble import assemble
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
    ({"optimizer.accumulate": "2"}, "compares every row with every other"),
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


def test_the_config_itself_is_fine(tmp_path):
    assemble(toy.get_config(), tmp_path)
