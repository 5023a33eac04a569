"""Questions about photographs of rooms (DAQUAR), from scratch.

mmjax train --config configs/daquar.py:PATH/daquar --workdir runs/daquar
"""

from ml_collections import ConfigDict


def get_config(path: str) -> ConfigDict:
    """`path`: the folder that holds qa.jsonl and daquar.tar."""
    config = ConfigDict()
    config.seed = 0
    config.steps = 600  # 11 epochs
    config.batch_size = 128

    asked = {"path": f"{path}/qa.jsonl", "where": {"split": "train"}}
    text = {"name": "text", "tokenizer": {"name": "bpe", "size": 1200, "captions": 13590}}
    config.data = ConfigDict(
        {
            "train": asked,
            "test": {**asked, "where": {"split": "test"}},
            "streams": {
                "image": {"name": "image", "size": 96, "resize": "squash", "crop_scale": (0.6, 1.0)},
                "question": {**text, "field": "question", "length": 32, "word_dropout": 0.1},
                "answer": {**text, "field": "answer", "length": 20},
            },
        }
    )
    config.task = ConfigDict({"name": "answer", "smoothing": 0.1})
    size = {"width": 128, "depth": 2, "heads": 4, "dropout": 0.2}
    config.task.towers = ConfigDict(
        {
            "image": {"name": "vit", "stem": "conv", "stem_widths": (16, 32, 64, 128), "positions": "rotary", **size},
            "text": {"name": "decoder", "mlp_dim": 512, "positions": "rotary", **size},
        }
    )
    config.task.streams = ConfigDict({"image": "image", "question": "text", "answer": "text"})
    config.optimizer = ConfigDict({"name": "muon", "learning_rate": 2e-3, "weight_decay": 0.2})
    config.evaluate = ConfigDict({"on": {"answer": {"baseline": asked}}})
    return config
