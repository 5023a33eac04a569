"""Zero-shot classification learnt from captions: Fashion-MNIST pictures, sentences made from their class names.

    mmjax train --config configs/fashion_mnist.py:PATH/fashion_mnist --workdir runs/fashion_mnist

PATH/fashion_mnist holds the four idx files and class_names.txt. Zero-shot top-1 is 90.4 % on the 10,000 test images
after 9.3 minutes on two cores (`benchmarks/results/fashion_mnist.json`).
"""

from ml_collections import ConfigDict

TEMPLATES = (
    "a photo of a {}",
    "a {}",
    "a picture of a {}",
    "this is a {}",
    "a small grey picture of a {}",
    "a piece of clothing, a {}",
    "a {} in a shop",
    "one {} seen from the front",
)


def get_config(folder: str = "fashion_mnist") -> ConfigDict:
    """folder: where the idx files are."""
    config = ConfigDict()
    config.seed = 0
    config.steps = 2000  # 34 epochs of the 15,000 pictures
    config.batch_size = 256

    def split(name: str) -> dict:
        files = {"images": f"{folder}/{name}-images-idx3-ubyte.gz", "labels": f"{folder}/{name}-labels-idx1-ubyte.gz"}
        return {"name": "idx", **files, "names": f"{folder}/class_names.txt", "templates": TEMPLATES}

    config.data = ConfigDict(
        {
            "train": split("train"),
            "test": split("t10k"),
            # Two captions of a class are both true of a picture: rows of one label are positives of each other.
            "group": "label",
            "streams": {
                # Flipping is safe here: no phrase says left or right.
                "image": {"name": "image", "size": 28, "crop_scale": None, "flip": True, "shift": 2, "cutout": 8},
                "caption": {"name": "text", "tokenizer": {"name": "bpe", "size": 400, "captions": 800}, "length": 16},
            },
        }
    )
    config.task = ConfigDict({"name": "align", "loss": "info_nce", "dim": 128})
    config.task.towers = ConfigDict(
        {
            "image": {"name": "vit", "stem": "conv", "width": 128, "depth": 2, "heads": 4, "pooling": "mean"},
            "text": {"name": "text", "width": 64, "depth": 1, "heads": 2, "pooling": "mean"},
        }
    )
    config.task.streams = ConfigDict({"image": "image", "caption": "text"})
    config.task.pairs = (("image", "caption"),)
    config.optimizer = ConfigDict({"name": "muon", "learning_rate": 3e-3, "weight_decay": 0.1})
    config.evaluate = ConfigDict({"on": ("zero_shot",), "batch_size": 500})
    return config
