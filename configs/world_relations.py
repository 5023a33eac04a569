"""The quickstart's towers taught what relations mean: every batch also holds captions made false as negatives.

mmjax train --config configs/world_relations.py --workdir runs/world_relations

What did it: beside each true caption stands its foil, the same words with two colours swapped or a relation turned
round, as one more negative of the whole batch (after Yuksekgonul et al. 2023, "NegCLIP"). The quickstart, which has the
same towers and optimizer and no foils, is at chance on relations (52.3 %). With foils it is 94.9 %, swapped colours
are 98.1 % and text to image R@1 is 95.3 %, after 15.9 minutes on two cores (`benchmarks/results/world_relations.json`).
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.steps = 1800
    config.batch_size = 128

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
    tower = {"width": 128, "depth": 2, "heads": 4, "pooling": "mean", "positions": "rotary"}
    config.task.towers = ConfigDict(
        {
            "image": {"name": "vit", "stem": "conv", "stem_widths": (16, 32, 64, 128), **tower},  # 4 x 4 tokens
            "text": {"name": "text", **tower},
        }
    )
    config.task.streams = ConfigDict({"image": "image", "caption": "text", "foil": "text"})
    config.task.pairs = (("image", "caption"),)
    config.task.foils = ConfigDict({"caption": ("foil",)})
    config.optimizer = ConfigDict({"name": "muon", "learning_rate": 3e-3, "weight_decay": 0.1})
    config.evaluate = ConfigDict({"on": ("retrieval", "foils")})
    return config
