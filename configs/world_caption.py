"""A small captioner on the embedded world.

mmjax train --config configs/world_caption.py --workdir runs/world_caption
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.steps = 2400
    config.batch_size = 128

    world = {"path": "world:scenes/train", "max_objects": 3}
    text = {"name": "text", "tokenizer": {"name": "bpe", "size": 512, "captions": 4000}, "length": 32}
    config.data = ConfigDict(
        {
            "train": world,
            "test": {**world, "path": "world:scenes/test"},
            "streams": {"image": {"name": "image", "size": 64, "crop_scale": None}, "caption": text},
        }
    )
    config.task = ConfigDict({"name": "caption"})
    size = {"width": 128, "depth": 2, "heads": 4}
    config.task.towers = ConfigDict(
        {
            "image": {"name": "vit", "stem": "conv", "stem_widths": (16, 32, 64, 128), "positions": "rotary", **size},
            "text": {"name": "decoder", "mlp_dim": 512, "positions": "rotary", **size},
        }
    )
    config.task.streams = ConfigDict({"image": "image", "caption": "text"})
    config.optimizer = ConfigDict({"name": "muon", "learning_rate": 3e-3, "weight_decay": 0.1})
    config.evaluate = ConfigDict({"on": {"caption": {"overlap": False}}})
    return config
