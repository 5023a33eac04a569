"""Questions about the embedded world, answered in words, by an image tower that has learnt to write captions.

mmjax train --config configs/world_vqa.py:runs/world_caption --workdir runs/world_vqa

`world_vqa.py:blind` shows no pictures: what the questions alone give away.
"""

from ml_collections import ConfigDict


def get_config(start: str) -> ConfigDict:
    """start: the model whose image tower is taken, a run of world_caption.py; or "blind" for none and no pictures."""
    config = ConfigDict()
    if start != "blind":
        config.init_from = ConfigDict({"source": start, "take": "towers_image", "new": ("^towers_text/", "^connect/")})
    config.seed = 0
    config.steps = 2000
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
    config.task = ConfigDict({"name": "answer", "blind": start == "blind"})
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
