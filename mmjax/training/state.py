"""What a training run carries from step to step, made directly in its sharding."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.sharding import Mesh

from mmjax.batch import Batch
from mmjax.tasks.base import Params, Task
from mmjax.training.optimizer import Optimizer, transformation
from mmjax.training.sharding import shardings


@struct.dataclass
class TrainState:
    """All that a checkpoint holds.

    Attributes:
      step: int32 [], steps done.
      params: parameters, float32.
      opt_state: of the optax chain.
      ema: running average of the parameters, or None.
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
        return self.params if self.ema is None else self.ema


def initializer(task: Task, options: Optimizer, batch: Batch) -> Callable[[jax.Array], TrainState]:
    """A function from a key to the first state, for parameters of this batch's shapes."""

    def init(key: jax.Array) -> TrainState:
        params = task.init(key, batch)
        tx = transformation(options, params)
        # The average starts as a copy: a donated state must not hold one buffer twice.
        ema = jax.tree.map(jnp.copy, params) if options.ema else None
        zero = jnp.zeros((), jnp.int32)
        return TrainState(zero, params, tx.init(params), ema, jnp.zeros((), jnp.int32))

    return init


def abstract_state(init: Callable[[jax.Array], TrainState], mesh: Mesh) -> TrainState:
    """Shapes, dtypes and shardings of the state, without computing it."""
    shapes = jax.eval_shape(init, jax.random.key(0))
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes, shardings(shapes, mesh)
    )


def create_state(init: Callable[[jax.Array], TrainState], shapes: TrainState, seed: int) -> TrainState:
    """The first state in the shardings of `abstract_state`, each device computing only its own shards."""
    target = jax.tree.map(lambda x: x.sharding, shapes)
    return jax.jit(init, out_shardings=target)(jax.random.key(seed))


def norm(tree: Any) -> jax.Array:
    """Global l2 norm, float32."""
    return optax.tree.norm(tree)
