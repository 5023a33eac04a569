"""Two towers on 753 photographs with five captions each, from scratch.

    mmjax train --config configs/flickr8k.py:en --workdir runs/flickr8k \\
        --config.data.train.path=PATH/flickr8k_1k/flickr8k_1k.tar

The path counts for all three splits. `flickr8k.py:zh` learns from the Chinese captions.
"""

from ml_collections import ConfigDict, FieldReference


def get_config(language: str = "en") -> ConfigDict:
    """language: "en" or "zh", which captions to learn from."""
    config = ConfigDict()
    config.seed = 0
    config.steps = 600
    config.batch_size = 125

    path = FieldReference("flickr8k_1k.tar")

    def split(name: str) -> dict:
        return {"path": path, "caption": f"captions_{language}", "where": {"split": name}}

    text = {"name": "text", "tokenizer": {"name": "bpe", "size": 2000}, "length": 24, "word_dropout": 0.1}
    config.data = ConfigDict(
        {
            "train": split("train"),
            "eval": split("val"),
            "test": split("test"),
            "streams": {
                "image": {"name": "image", "size": 96, "crop_scale": (0.4, 1.0), "flip": True, "resize": "squash"},
                "caption": {**text, "choice": 0},
                "caption_2": {**text, "choice": 1},
            },
        }
    )
    config.task = ConfigDict({"name": "align", "loss": "info_nce", "dim": 128})
    config.task.towers = ConfigDict(
        {
            "image": {"name": "vit", "stem": "conv", "width": 128, "depth": 2, "heads": 4, "pooling": "mean"},
            "text": {"name": "text", "width": 128, "depth": 1, "heads": 4, "pooling": "mean"},
        }
    )
    config.task.streams = ConfigDict({"image": "image", "caption": "text", "caption_2": "text"})
    config.task.pairs = (("image", "caption"),)
    config.task.positives = ConfigDict({"caption": ("caption_2",)})
    config.optimizer = ConfigDict({"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.2, "ema": 0.99})
    config.evaluate = ConfigDict({"on": ("retrieval",), "every": 100})
    config.checkpoint = ConfigDict({"every": 100})
    return config
