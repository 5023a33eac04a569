"""Runs several evaluators on one set: what the training loop, `mmjax evaluate` and the report share."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mmjax.config import build
from mmjax.evaluation import EVALUATORS
from mmjax.evaluation.predict import EvalSet, Metrics, on_any_host


@runtime_checkable
class Evaluator(Protocol):
    """Measures a model on a set; may also have `notes(data)`, what the score was measured with."""

    def run(self, task: Any, params: Any, data: EvalSet, mesh: Mesh | None = None) -> Metrics: ...


def make_evaluators(on: Sequence[str] | Mapping[str, Any], where: str = "evaluate.on") -> dict[str, Evaluator]:
    """Evaluators from names, or from `{name: section of its options}`; `my_lab.scores:Mine` is imported."""
    sections = {name: dict(on[name] or {}) if isinstance(on, (Mapping, ConfigDict)) else {} for name in on}
    return {name: build({"name": name, **options}, EVALUATORS, f"{where}.{name}") for name, options in sections.items()}


def evaluate(
    task: Any, params: Any, data: EvalSet, evaluators: Mapping[str, Evaluator], mesh: Mesh | None = None
) -> Metrics:
    """All metrics of all evaluators as one flat `{name: number}`, and `skipped`, the items that could not be read."""
    metrics: Metrics = {}
    for evaluator in evaluators.values():
        metrics |= evaluator.run(task, params, data, mesh)
    skipped = np.isin(np.arange(data.items), [skip.index for skip in data.skipped])
    return metrics | {"skipped": int(on_any_host(skipped).sum())}


def notes(evaluators: Mapping[str, Evaluator], data: EvalSet) -> dict[str, str]:
    """What the scores were measured with, as far as the evaluators tell."""
    out: dict[str, str] = {}
    for evaluator in evaluators.values():
        if hasattr(evaluator, "notes"):
            out |= evaluator.notes(data)
    return out
