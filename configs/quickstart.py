"""Two small towers on the embedded world: the whole path from nothing to a report on two CPU cores.

mmjax train --config configs/quickstart.py --workdir runs/quickstart
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.steps = 450
    config.batch_size = 256

    world = {"path": "world:scenes/train", "max_objects": 3}
    text = {"name": "text", "tokenizer": {"name": "bpe", "size": 512, "captions": 4000}, "length": 32}
    config.data = ConfigDict(
        {
            "train": world,
            "test": {**world, "path": "world:scenes/test"},
            "streams": {
                "image": {"name": "image", "size": 64, "crop_scale": None},
                "caption": text,
                "foil": {**text, "field": "foil"},
            },
        }
    )
    config.task = ConfigDict({"name": "align", "loss": "info_nce", "dim": 128})
    tower = {"width": 128, "depth": 2, "heads": 4, "pooling": "mean"}
    config.task.towers = ConfigDict(
        {
            "image": {"name": "vit", "stem": "conv", "stem_widths": (16, 32, 64, 128), **tower},
            "text": {"name": "text", **tower},
        }
    )
    config.task.streams = ConfigDict({"image": "image", "caption": "text", "foil": "text"})
    # A caption with two colours swapped, or a relation turned round, is a negative of its own picture: without these,
    # a bag of words is enough to tell the scenes of a batch apart, and that is what is learnt.
    config.task.foils = ConfigDict({"caption": ("foil",)})
    config.task.pairs = (("image", "caption"),)
    config.optimizer = ConfigDict({"name": "adamw", "learning_rate": 1.5e-3, "weight_decay": 0.1})
    config.evaluate = ConfigDict({"on": ("retrieval", "foils")})
    return config
