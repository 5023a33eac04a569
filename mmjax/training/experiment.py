"""The sections of an experiment config as frozen values: their fields are the schema, their docs the manual."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from ml_collections import ConfigDict

from mmjax.config import build
from mmjax.errors import UserError
from mmjax.mesh import MeshShape
from mmjax.training.optimizer import Optimizer


@dataclasses.dataclass(frozen=True)
class Data:
    """What is learnt from and what is evaluated on.

    Attributes:
      train: a source (text or section), or several sections with a `weight` each: one source a batch.
      eval: source of the evaluations during training; None for none.
      test: source of the evaluation at the end; None takes `eval`.
      streams: {stream: section}, how raw values become arrays; see docs/data.md.
      group: which rows of a batch are positives of each other: the same item, caption or label.
      workers: processes that decode beside the training process, for training and for evaluation; 0 decodes in it.
      prefetch: batches decoded ahead, for each worker.
      max_skip_rate: share of bad items above which the run stops.
    """

    train: Any
    streams: Mapping[str, Any]
    eval: Any = None
    test: Any = None
    group: Literal["index", "caption", "label"] = "index"
    workers: int = 0
    prefetch: int = 2
    max_skip_rate: float = 0.01


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """When and how to evaluate.

    Attributes:
      every: steps between evaluations during training; 0 evaluates at the end alone.
      on: evaluator names, or {name: its options}.
      batch_size: rows a batch; 0 takes the training's.
      limit: items of the set that are used during training; 0 for all. The end always takes all.
    """

    every: int = 0
    on: Any = ()
    batch_size: int = 0
    limit: int = 0


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """When to save and what to keep.

    Attributes:
      every: steps between checkpoints; the last step is always saved.
      keep_last: the latest ones that are kept.
      keep_every: those at multiples of this step are kept for good; 0 for none.
      best: the evaluation metric whose best checkpoint is kept, e.g. "retrieval/text_to_image/R@1"; "" for none.
      best_mode: whether more or less of it is better.
    """

    every: int = 1000
    keep_last: int = 2
    keep_every: int = 0
    best: str = ""
    best_mode: Literal["max", "min"] = "max"


@dataclasses.dataclass(frozen=True)
class Log:
    """What is written down.

    Attributes:
      every: steps between lines of metrics.jsonl.
      tensorboard: also write RUN/tensorboard.
      wandb: Weights & Biases project; "" for none. Needs the extra `[wandb]`.
      profile: (first, last) step of a profiler trace, both included; () for none. `touch RUN/profile` traces five
        steps at any time.
      report: whether to write RUN/report.html at the end.
    """

    every: int = 10
    tensorboard: bool = True
    wandb: str = ""
    profile: tuple[int, ...] = ()
    report: bool = True


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A whole run.

    Attributes:
      steps: updates.
      batch_size: examples an update, over all devices of all hosts.
      data, task, optimizer, mesh, evaluate, checkpoint, log: the sections.
      init_from: parameters to start from: a model as text, a section of `training.pretrained.Start`, or several; None
        draws all of them. Read by the first start of a run alone.
      lora: {"kernels": regexes, "rank", "alpha", "also"}, see `tasks.lora`: only thin factors of the chosen kernels
        learn; None trains the parameters themselves.
      seed: of everything random: order, augmentation, initialisation, dropout.
      max_bad_steps: non-finite steps in a row after which the run stops.
      matmul_precision: of float32 matmuls that do not say themselves; attention, dense layers and losses in float32
        are always exact, which matters on TPUs.
    """

    steps: int
    batch_size: int
    data: Data
    task: Mapping[str, Any]
    optimizer: Optimizer
    mesh: MeshShape = MeshShape()
    evaluate: Evaluate = Evaluate()
    checkpoint: Checkpoint = Checkpoint()
    log: Log = Log()
    init_from: Any = None
    lora: Mapping[str, Any] | None = None
    seed: int = 0
    max_bad_steps: int = 10
    matmul_precision: Literal["default", "high", "highest"] = "default"


SECTIONS = {
    "data": Data,
    "optimizer": Optimizer,
    "mesh": MeshShape,
    "evaluate": Evaluate,
    "checkpoint": Checkpoint,
    "log": Log,
}


def parse(config: ConfigDict) -> Experiment:
    """Checks every section and key.

    Raises:
      UserError: an unknown key (with the nearest names), a missing one, a wrong type or an impossible value.
    """
    sections = {
        name: build(config[name], cls, f"config.{name}") if name in config else None for name, cls in SECTIONS.items()
    }
    flat = {key: value for key, value in config.items() if key not in SECTIONS}
    given = {name: value for name, value in sections.items() if value is not None}
    if missing := sorted({"data", "optimizer"} - set(given)):
        raise UserError(f"config.{missing[0]} is missing")
    experiment = build(flat, Experiment, "config", **given)
    positive = {"steps": experiment.steps, "batch_size": experiment.batch_size, "log.every": experiment.log.every}
    for key, value in positive.items():
        if value < 1:
            raise UserError(f"config.{key} must be at least 1, got {value}")
    if not 0 <= experiment.data.max_skip_rate <= 1:
        raise UserError(f"config.data.max_skip_rate must lie in [0, 1], got {experiment.data.max_skip_rate}")
    if experiment.evaluate.every and experiment.data.eval is None:
        raise UserError("config.evaluate.every is set, but config.data.eval names no data to evaluate on")
    if experiment.checkpoint.best and not experiment.evaluate.every:
        raise UserError("config.checkpoint.best needs evaluations during training: set config.evaluate.every")
    negative = {
        "evaluate.every": experiment.evaluate.every,
        "evaluate.limit": experiment.evaluate.limit,
        "checkpoint.every": experiment.checkpoint.every,
        "checkpoint.keep_every": experiment.checkpoint.keep_every,
    }
    for key, value in negative.items():
        if value < 0:
            raise UserError(f"config.{key} must not be negative, got {value}")
    if len(experiment.log.profile) not in (0, 2):
        raise UserError(f"config.log.profile must be (first, last), got {experiment.log.profile}")
    return experiment
