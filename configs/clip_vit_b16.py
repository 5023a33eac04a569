"""CLIP ViT-B/16 on image-text pairs, for a TPU v5e pod of 256 chips; exportable to PyTorch.

    mmjax plan --config configs/clip_vit_b16.py --topology v5e:16x16
    mmjax train --config configs/clip_vit_b16.py --workdir runs/clip_vit_b16 \\
        --config.data.train.path='PATH/shards-{00000..41455}.tar'

Planned, not run: 2.1 of 15.75 GiB a chip, MFU between 51 % (nothing overlaps) and 81 % (all does) at the peaks; see
docs/planning.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.batch_size = 32_768
    config.steps = 13_000_000_000 // config.batch_size

    tokenizer = {"name": "hf", "path": "openai/clip-vit-base-patch16"}
    config.data = ConfigDict(
        {
            "train": {"path": "shards-{00000..41455}.tar"},
            "streams": {
                "image": {"name": "image", "size": 224, "crop_scale": (0.9, 1.0)},
                "caption": {"name": "text", "tokenizer": tokenizer, "length": 77},
            },
            "workers": 32,
        }
    )
    config.task = ConfigDict({"name": "align", "loss": "info_nce", "dim": 512})
    block = {"dtype": "bfloat16", "scan": True, "remat": "full", "epsilon": 1e-5}
    image = {"size": "B", "patch": 16, "patch_bias": False, "pooling": "class", "pre_norm": True}
    text = {"width": 512, "depth": 12, "vocabulary": 49_408, "pooling": "eos", "causal": True}
    config.task.towers = ConfigDict(
        {"image": {"name": "vit", **image, **block}, "text": {"name": "text", **text, **block}}
    )
    config.task.streams = ConfigDict({"image": "image", "caption": "text"})
    config.task.pairs = (("image", "caption"),)
    config.optimizer = ConfigDict(
        {"name": "adamw", "learning_rate": 1e-3, "warmup": 2000, "weight_decay": 0.2, "b2": 0.98, "eps": 1e-6}
    )
    config.mesh = ConfigDict({"data": -1, "fsdp": 16})
    config.checkpoint = ConfigDict({"every": 1000, "keep_every": 50_000})
    config.log = ConfigDict({"every": 50, "report": False})
    return config
