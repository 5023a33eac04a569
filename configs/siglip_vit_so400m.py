"""SigLIP So400m/14 on image-text pairs, for 512 TPU v5p chips; exportable to PyTorch.

    mmjax plan --config configs/siglip_vit_so400m.py --topology v5p:8x8x8
    mmjax train --config configs/siglip_vit_so400m.py --workdir runs/siglip_vit_so400m \\
        --config.data.train.path='PATH/shards-{00000..41455}.tar'

Planned, not run: 16.2 of 95.7 GiB a chip, MFU between 59 % (nothing overlaps) and 98 % (all does) at the peaks; see
docs/planning.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.batch_size = 32_768
    config.steps = 9_000_000_000 // config.batch_size

    tokenizer = {"name": "hf", "path": "google/siglip-so400m-patch14-224", "clean": "canonicalize"}
    config.data = ConfigDict(
        {
            "train": {"path": "shards-{00000..41455}.tar"},
            "streams": {
                "image": {"name": "image", "size": 224, "resize": "squash"},
                "caption": {"name": "text", "tokenizer": tokenizer, "length": 64},
            },
            "workers": 32,
        }
    )
    config.task = ConfigDict({"name": "align", "loss": "sigmoid", "dim": 1152, "scale_init": 10.0, "bias_init": -10.0})
    block = {"size": "So400m", "activation": "gelu_tanh", "dtype": "bfloat16", "scan": True, "remat": "dots"}
    text = {"vocabulary": 32_000, "pooling": "final", "attend_padding": True}
    config.task.towers = ConfigDict(
        {
            "image": {"name": "vit", "patch": 14, "pooling": "map", **block},
            "text": {"name": "text", **text, **block},
        }
    )
    config.task.project = ConfigDict({"image": "none", "text": "bias"})
    config.task.streams = ConfigDict({"image": "image", "caption": "text"})
    config.task.pairs = (("image", "caption"),)
    config.optimizer = ConfigDict(
        {"name": "adamw", "learning_rate": 1e-3, "warmup": 20_000, "weight_decay": 1e-4, "b2": 0.95}
    )
    config.mesh = ConfigDict({"data": -1, "fsdp": 8})
    config.checkpoint = ConfigDict({"every": 1000, "keep_every": 50_000})
    config.log = ConfigDict({"every": 50, "report": False})
    return config
