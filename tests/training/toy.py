"""A run small enough to be trained many times over: shades and their captions, two tiny towers."""

from ml_collections import ConfigDict

SOURCE = "tests.my_lab.sources:Shades"


def get_config(kind: str = "") -> ConfigDict:
    """kind: "task" for the uncoupled task of tests/my_lab."""
    config = ConfigDict()
    config.steps = 12
    config.batch_size = 16
    config.data = ConfigDict(
        {
            "train": {"name": SOURCE, "length": 40},
            "eval": {"name": SOURCE, "length": 20, "offset": 1000},
            "streams": {
                "image": {"name": "image", "size": 8, "crop_scale": (0.8, 1.0)},
                "caption": {"name": "text", "tokenizer": "bytes", "length": 24},
            },
        }
    )
    if kind == "task":
        config.task = ConfigDict({"name": "tests.my_lab.tasks:MeanColour"})
        config.data.streams = ConfigDict({"image": {"name": "image", "size": 8}})
    else:
        config.task = ConfigDict(
            {
                "name": "align",
                "towers": {
                    "image": {"name": "vit", "patch": 4, "width": 16, "depth": 2, "heads": 2, "pooling": "mean"},
                    "text": {"name": "text", "width": 16, "depth": 1, "heads": 2, "pooling": "mean", "causal": False},
                },
                "streams": {"image": "image", "caption": "text"},
                "pairs": (("image", "caption"),),
                "dim": 8,
            }
        )
    config.optimizer = ConfigDict({"name": "adamw", "learning_rate": 3e-3, "weight_decay": 0.1, "ema": 0.9})
    config.checkpoint = ConfigDict({"every": 4})
    config.evaluate = ConfigDict({"on": ("retrieval",) if kind != "task" else (), "every": 6})
    config.log = ConfigDict({"every": 1, "tensorboard": False, "report": False})
    return config
