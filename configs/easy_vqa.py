"""Questions about shapes and colours on 500 small pictures (easy-VQA), from scratch.

mmjax train --config configs/easy_vqa.py:PATH/easy_vqa --workdir runs/easy_vqa
"""

from ml_collections import ConfigDict


def get_config(path: str) -> ConfigDict:
    """`path`: the folder that holds qa.jsonl and the pictures."""
    config = ConfigDict()
    config.seed = 0
    config.steps = 1500
    config.batch_size = 128

    asked = {"path": f"{path}/qa.jsonl", "where": {"split": "train"}}
    text = {"name": "text", "tokenizer": {"name": "bpe", "size": 512, "captions": 9886}}
    config.data = ConfigDict(
        {
            "train": asked,
            "test": {**asked, "where": {"split": "test"}},
            "streams": {
                "image": {"name": "image", "size": 64, "crop_scale": None, "flip": True, "shift": 6},
                "question": {**text, "field": "question", "length": 16},
                "answer": {**text, "field": "answer", "length": 4},
            },
        }
    )
    config.task = ConfigDict({"name": "answer"})
    size = {"width": 128, "depth": 2, "heads": 4}
    config.task.towers = ConfigDict(
        {
            "image": {"name": "vit", "stem": "conv", "stem_widths": (16, 32, 64, 128), "positions": "rotary", **size},
            "text": {"name": "decoder", "mlp_dim": 512, "positions": "rotary", **size},
        }
    )
    config.task.streams = ConfigDict({"image": "image", "question": "text", "answer": "text"})
    config.optimizer = ConfigDict({"name": "muon", "learning_rate": 3e-3, "weight_decay": 0.1})
    config.evaluate = ConfigDict({"on": {"answer": {"baseline": asked}}})
    return config
