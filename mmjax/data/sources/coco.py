"""COCO captions and Karpathy's splits as they are published: one JSON file and a folder or tar of pictures."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mmjax.data.sources.asked import refuse_strangers
from mmjax.data.sources.images import Images
from mmjax.data.sources.json_file import read_json, records
from mmjax.data.sources.rows import Rows

Record = dict[str, Any]


class Captioned(Rows):
    """Rows of pictures that a file lists with their captions. A subclass says what a picture may be called."""

    def _open(
        self, name: str, rows: Sequence[Record], images: str, caption: str, where: Mapping[str, Any] | None
    ) -> None:
        self.name, self._listed = name, rows
        self._pictures = Images(images, f"{name}: images")
        self._choose(caption, where)

    def _count(self) -> int:
        return len(self._listed)

    def _row(self, row: int) -> Mapping[str, Any]:
        return self._listed[row]

    def _names(self, row: Mapping[str, Any]) -> Sequence[str]:
        raise NotImplementedError

    def _id(self, row: int) -> str:
        return self._names(self._listed[row])[0]

    def _image(self, row: int) -> bytes:
        return self._pictures.read(*self._names(self._listed[row]))


class Coco(Captioned):
    """COCO captions (Chen et al., 2015): `images` and `annotations`, several captions a picture.

    A picture without captions is an item that is bad. The truth holds `captions`, `image_id` and the picture's fields.

    Args:
      annotations: `captions_val2017.json`.
      images: folder or tar of the pictures.
      where: keeps the pictures with these values.
    """

    def __init__(self, annotations: str, images: str, where: Mapping[str, Any] | None = None):
        content = read_json(annotations)
        pictures = records(annotations, content, "images", "id", "file_name")
        notes = records(annotations, content, "annotations", "image_id")
        known = [picture["id"] for picture in pictures]
        refuse_strangers(annotations, (note["image_id"] for note in notes), known, "image_id")
        captions = defaultdict(list)
        for note in notes:
            captions[note["image_id"]].append(note.get("caption"))
        rows = [{**picture, "image_id": picture["id"], "captions": captions[picture["id"]]} for picture in pictures]
        self._open(annotations, rows, images, "captions", where)

    def _names(self, row: Mapping[str, Any]) -> Sequence[str]:
        return (row["file_name"],)


class Karpathy(Captioned):
    """`dataset_coco.json` and the like (Karpathy and Fei-Fei, CVPR 2015): pictures with their sentences and split.

    Args:
      path: the file, also `dataset_flickr8k.json` or `dataset_flickr30k.json`.
      images: folder or tar of the pictures; with COCO's own folders `train2014` and `val2014` in it, or without.
      where: keeps the pictures with these values: `{"split": "test"}`, `{"split": ("train", "restval")}`.
    """

    def __init__(self, path: str, images: str, where: Mapping[str, Any] | None = None):
        rows = records(path, read_json(path), "images", "filename", "sentences")
        self._open(path, rows, images, "sentences.raw", where)

    def _names(self, row: Mapping[str, Any]) -> Sequence[str]:
        folder = row.get("filepath")
        return (f"{folder}/{row['filename']}", row["filename"]) if folder else (row["filename"],)
