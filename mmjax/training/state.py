"""What a training run carries from step to step, made directly in its sharding."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from flax.core import FrozenDict
from jax.sharding import AbstractMesh, Mesh

from mmjax.batch import Batch
from mmjax.tasks.base import Params, Task
from mmjax.training import tree
from mmjax.training.optimizer import Optimizer, trained, transformation
from mmjax.training.sharding import shardings

Initializer = Callable[..., "TrainState"]  # of a key, and of parameters that are given


@struct.dataclass
class TrainState:
    """All that a checkpoint holds.

    Attributes:
      step: int32 [], steps done.
      params: parameters, float32.
      opt_state: of the optax chain.
      ema: running average of the parameters that are not frozen, or None.
      bad: int32 [], non-finite steps in a row.
    """

    step: jax.Array
    params: Params
    opt_state: Any
    ema: Params | None
    bad: jax.Array

    @property
    def best_params(self) -> Params:
        """What is evaluated and exported: the average where there is one."""
        return self.params if self.ema is None else tree.overlay(self.params, self.ema)


def initializer(task: Task, options: Optimizer, batch: Batch) -> Initializer:
    """A function from a key, and maybe some given parameters, to the first state, for this batch's shapes."""

    def init(key: jax.Array, given: Params = FrozenDict()) -> TrainState:
        params = tree.overlay(task.init(key, batch), given)
        learning = trained(options, params)
        tx = transformation(options, params)
        # The average starts as a copy: a donated state must not hold one buffer twice.
        ema = jax.tree.map(jnp.copy, learning) if options.ema else None
        zero = jnp.zeros((), jnp.int32)
        return TrainState(zero, params, tx.init(learning), ema, jnp.zeros((), jnp.int32))

    return init


def abstract_state(init: Initializer, mesh: Mesh | AbstractMesh) -> TrainState:
    """Shapes, dtypes and shardings of the state, without computing it."""
    shapes = jax.eval_shape(init, jax.random.key(0))
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes, shardings(shapes, mesh)
    )


def create_state(init: Initializer, shapes: TrainState, seed: int, given: Params = FrozenDict()) -> TrainState:
    """The first state in the shardings of `abstract_state`, each device computing only its own shards.

    Args:
      given: parameters that are not drawn but loaded, in those shardings; see `training.pretrained`.
    """
    target = jax.tree.map(lambda x: x.sharding, shapes)
    return jax.jit(init, out_shardings=target)(jax.random.key(seed), given)


def norm(tree: Any) -> jax.Array:
    """Global l2 norm, float32."""
    return optax.tree.norm(tree)
