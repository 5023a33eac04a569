"""A TFDS builder of four pairs; it must be a module of its own, not `__main__`."""

import io

import tensorflow_datasets as tfds

from . import made


class Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "captions": tfds.features.Sequence({"text": tfds.features.Text()}),
            "label": tfds.features.ClassLabel(names=["one", "two"]),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for key, captions, split in made.PAIRS:
            image = io.BytesIO(made.png(key))  # an encoded file: an array would be encoded by TensorFlow
            yield key, {"image": image, "captions": {"text": captions}, "label": int(split == "train")}
