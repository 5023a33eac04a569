"""Questions about the embedded world, answered in words.

mmjax train --config configs/world_vqa.py --workdir runs/world_vqa
mmjax train --config configs/world_vqa.py:blind --workdir runs/world_vqa_blind
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """`blind` shows no pictures: what questions alone give away."""
    if arg not in ("", "blind"):
        raise ValueError(f"world_vqa.py takes no argument or blind, got {arg!r}")
    config = ConfigDict()
    config.seed = 0
    config.steps = 3000
    config.batch_size = 128

    world = {"path": "world:questions/train", "max_objects": 3}
    text = {"name": "text", "tokenizer": {"name": "bpe", "size": 512, "captions": 8000}}
    config.data = ConfigDict(
        {
            "train": world,
            "test": {**world, "path": "world:questions/test"},
            "streams": {
                "image": {"name": "image", "size": 64, "crop_scale": None},
                "question": {**text, "field": "question", "length": 14},
                "answer": {**text, "field": "answer", "length": 4},
            },
        }
    )
    config.task = ConfigDict({"name": "answer", "blind": arg == "blind"})
    size = {"width": 128, "depth": 2, "heads": 4}
    config.task.towers = ConfigDict(
        {
            "image": {"name": "vit", "stem": "conv", "stem_widths": (16, 32, 64, 128), "positions": "rotary", **size},
            "text": {"name": "decoder", "mlp_dim": 512, "positions": "rotary", **size},
        }
    )
    config.task.streams = ConfigDict({"image": "image", "question": "text", "answer": "text"})
    config.optimizer = ConfigDict({"name": "muon", "learning_rate": 3e-3, "weight_decay": 0.1})
    config.evaluate = ConfigDict({"on": ("answer",)})
    return config
