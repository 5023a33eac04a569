"""Checkpoints through Orbax: asynchronous, atomic, kept by policy, restored onto any mesh."""

import importlib.metadata
import math
from collections.abc import Callable, Mapping
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from mmjax.errors import UserError
from mmjax.storage import CHECKPOINTS, Home, is_remote
from mmjax.training.experiment import Checkpoint
from mmjax.training.sent_steps import SentSteps
from mmjax.training.state import TrainState

LIBRARIES = ("mmjax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class Checkpoints:
    """The `checkpoints/` folder of a run. An error of an asynchronous save is raised at the next step."""

    def __init__(self, home: Home, options: Checkpoint):
        self._every = options.every
        folder, self._sent = home.remote / CHECKPOINTS, None
        if str(home.remote).startswith("s3://"):
            folder, self._sent = home.folder / CHECKPOINTS, SentSteps(home.folder / CHECKPOINTS, folder)
            self._sent.fetch()
        self._manager = ocp.CheckpointManager(
            folder if is_remote(folder) else folder.resolve(),
            item_names=("state", "meta"),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=_policy(options),
                # Without a best_fn Orbax writes no metrics, and after a restart nothing would be the best.
                best_fn=_score(options) if options.best else None,
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
            ),
        )

    def due(self, step: int) -> bool:
        """Whether this step is one to save."""
        return bool(self._every) and step % self._every == 0

    def latest(self) -> int | None:
        """The last complete step."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, config: Mapping[str, Any], metrics: Mapping[str, float | int]) -> None:
        """Starts a save; returns once the state is copied out of the devices."""
        self._manager.check_for_errors()
        if step in self._manager.all_steps():
            return
        meta = {"step": step, "config": config, "libraries": versions()}
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
        self._manager.save(step, args=items, metrics=dict(metrics) or None)
        if self._sent is not None:
            self._manager.wait_until_finished()
            self._sent.send()

    def restore(self, step: int, target: TrainState) -> TrainState:
        """The state of that step in the target's shapes and shardings, on however many devices they name.

        Raises:
          UserError: the checkpoint holds another tree than the config describes.
        """
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))
        except (ValueError, KeyError) as error:
            first = str(error).strip().splitlines()[0]
            raise UserError(f"{self._manager.directory}/{step}: does not fit this config's model ({first})") from error
        return restored["state"]

    def libraries(self, step: int) -> dict[str, str]:
        """The library versions that a checkpoint was written with."""
        return self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]["libraries"]

    def check(self) -> None:
        """Raises the error of a save that failed in the background."""
        self._manager.check_for_errors()

    def preempted(self, step: int) -> bool:
        """Whether the cluster has announced that it takes the machines away; all hosts agree on the step."""
        return self._manager.reached_preemption(step)

    def close(self) -> None:
        """Waits for the last save."""
        self._manager.wait_until_finished()
        self._manager.check_for_errors()
        self._manager.close()


def _policy(options: Checkpoint) -> policies.AnyPreservationPolicy:
    keep: list[Any] = [policies.LatestN(max(options.keep_last, 1))]
    if options.keep_every:
        keep.append(policies.EveryNSteps(options.keep_every))
    if options.best:
        keep.append(policies.BestN(get_metric_fn=_score(options), n=1, keep_checkpoints_without_metrics=False))
    return policies.AnyPreservationPolicy(keep)


def _score(options: Checkpoint) -> Callable[[Mapping[str, float]], float]:
    """What the best checkpoint has most of; a checkpoint without the metric is never the best."""
    sign = 1.0 if options.best_mode == "max" else -1.0
    return lambda metrics: sign * metrics[options.best] if options.best in metrics else -math.inf


def versions() -> dict[str, str]:
    """Versions of the libraries that a run's numbers depend on."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}
