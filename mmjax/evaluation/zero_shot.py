"""Zero-shot classification: a class is the mean of its prompts' features, and an image belongs to the nearest class.

Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021, section 3.1.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int

from mmjax.errors import UserError
from mmjax.evaluation.predict import EvalSet, Metrics, embed_set, embed_texts, truths
from mmjax.evaluation.prompts import Prompts, load
from mmjax.evaluation.ranking import wrong_before


@dataclasses.dataclass(frozen=True)
class ZeroShot:
    """Top-k accuracy over the set and per class, as fractions; a tie with a wrong class is a mistake.

    `zero_shot/prompts_sha256` goes with the score: the first 12 hexadecimal digits of the prompts' hash, as a number
    (below 2**48, so exact in JSON). Two scores with different numbers there are not comparable.

    Attributes:
      prompts: a shipped set, `imagenet`, or a `.json` file; None takes the source's own class names and templates.
      image, text: the streams that see the pictures and the prompts.
      at: the k of top-k; more than there are classes is left out.
    """

    prompts: str | None = None
    image: str = "image"
    text: str = "caption"
    at: tuple[int, ...] = (1, 5)

    def run(self, task: Any, params: Any, data: EvalSet, mesh: Mesh | None = None) -> Metrics:
        prompts = self._prompts(data)
        rows = embed_set(task, params, data, self.image, mesh)
        found = truths(data, rows.owner[rows.valid].tolist())
        labels = labels_of(found, prompts)
        features = rows.features[rows.valid & np.isin(rows.owner, list(found))]
        texts = embed_texts(task, params, data, self.text, prompts.texts(), mesh)
        classes = class_features(texts, len(prompts.classes))
        before = wrong_before(features, labels, classes, np.arange(len(classes)), mesh=mesh)[:, 0]
        metrics = {f"zero_shot/top{k}": float(np.mean(before < k)) for k in self.at if k < len(classes)}
        for label in np.unique(labels):
            name = prompts.classes[label].replace("/", "-")
            metrics[f"zero_shot/class/{name}"] = float(np.mean(before[labels == label] < 1))
        return metrics | {"zero_shot/images": len(labels), "zero_shot/prompts_sha256": int(prompts.sha256[:12], 16)}

    def notes(self, data: EvalSet) -> dict[str, str]:
        """What the score was measured with, for a report."""
        prompts = self._prompts(data)
        size = f"{len(prompts.classes)} classes x {len(prompts.templates)} templates"
        return {"zero_shot prompts": f"{prompts.name}, version {prompts.version}, {size}, sha256 {prompts.sha256}"}

    def _prompts(self, data: EvalSet) -> Prompts:
        source = getattr(data, "source", None)
        names = tuple(getattr(source, "class_names", None) or ())
        if self.prompts is None:
            if not names:
                raise UserError("zero_shot: the data names no classes; choose prompts (a set's name or a .json file)")
            return Prompts("of the data", 1, names, tuple(getattr(source, "templates", None) or ("a photo of a {}.",)))
        prompts = load(self.prompts)
        size = len(prompts.classes)
        if names and len(names) != size:
            raise UserError(f"zero_shot: prompts {self.prompts} have {size} classes, the data {len(names)}")
        return prompts


def class_features(texts: Float[np.ndarray, "m d"], classes: int) -> Float[np.ndarray, "c d"]:
    """Mean of each class's L2-normalised prompt features (class by class in `texts`), normalised again."""
    mean = texts.reshape(classes, -1, texts.shape[1]).mean(axis=1)
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)


def labels_of(truths: Mapping[int, Mapping[str, Any]], prompts: Prompts) -> Int[np.ndarray, " n"]:
    """The items' labels; each must be one of the prompts' classes, by number or by name."""
    numbers = {str(i): i for i in range(len(prompts.classes))}
    known = numbers | {name: i for i, name in enumerate(prompts.classes) if name not in numbers}
    labels = []
    for item, truth in truths.items():
        label = truth.get("label")
        if label is None:
            raise UserError(f"zero_shot: item {item} has no label; this data cannot be classified")
        if str(label) not in known:
            raise UserError(f"zero_shot: item {item} has label {label}, which the prompts {prompts.name} do not know")
        labels.append(known[str(label)])
    return np.asarray(labels, np.int32)
