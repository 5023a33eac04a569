"""Optimizers by config: optax chains with rules that choose parameters by regex."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optax import contrib

from mmjax.errors import UserError
from mmjax.tasks.base import Params
from mmjax.training import tree
from mmjax.training.layer_decay import layer_factors
from mmjax.training.schedule import schedule

# Of one iteration (Jordan et al. 2024). Given once for each of the five, optax runs them in a loop that compiles once.
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """How parameters are updated.

    Attributes:
      name: the update rule, of optax.
      learning_rate: its peak.
      schedule, warmup, cooldown, floor: see `training.schedule`.
      weight_decay: decoupled, times the learning rate, on parameters that `decay` chooses.
      decay: regexes of the parameters that decay: by default the matrices, not biases, norms, scales or positions.
      b1, b2: momentum and second-moment decay, where the rule has them. Adafactor's own rule replaces b2.
      eps: added to the root of Adam's second moment; `open_clip` takes 1e-6 for vision transformers.
      clip: largest global gradient norm; 0 for none.
      groups: (regex, factor) pairs; the first that matches multiplies the learning rate.
      layer_decay: learning-rate factor from each block to the one before it, 1 for none; see `training.layer_decay`.
      freeze: regexes of parameters that stay as they are: they cost no gradient, no optimizer memory and no average.
      clamp: (regex, lowest, highest) applied after the update; the default keeps a log scale within [0, ln 100]
        (Radford et al. 2021, section 2.5).
      ema: decay of the running average of the parameters; 0 keeps none. What is averaged is evaluated and exported.
      accumulate: micro-batches a step: less memory for more time, and the same step; see `training.accumulate`.
    """

    learning_rate: float
    name: Literal["adamw", "lion", "adafactor", "muon", "sgd"] = "adamw"
    schedule: Literal["cosine", "rsqrt", "constant"] = "cosine"
    warmup: float = 0.05
    cooldown: float = 0.0
    floor: float = 0.0
    weight_decay: float = 0.0
    decay: tuple[str, ...] = (r"kernel$", r"embedding$")
    b1: float = 0.9
    b2: float = 0.98
    eps: float = 1e-8
    clip: float = 1.0
    groups: tuple[tuple[str, float], ...] = ()
    layer_decay: float = 1.0
    freeze: tuple[str, ...] = ()
    clamp: tuple[tuple[str, float, float], ...] = ((r"^scale$", 0.0, 4.60517),)
    ema: float = 0.0
    accumulate: int = 1

    def rate(self, steps: int) -> optax.Schedule:
        """The learning rate by step."""
        return schedule(self.schedule, self.learning_rate, steps, self.warmup, self.cooldown, self.floor)


def rule(options: Optimizer) -> optax.GradientTransformation:
    """The update rule alone: no decay, no learning rate."""
    b1, b2 = options.b1, options.b2
    rules: Mapping[str, Callable[[], optax.GradientTransformation]] = {
        "adamw": lambda: optax.scale_by_adam(b1, b2, options.eps),
        "lion": lambda: optax.scale_by_lion(b1, b2),
        "adafactor": lambda: optax.chain(optax.scale_by_factored_rms(), optax.clip_by_block_rms(1.0), optax.ema(b1)),
        "muon": lambda: optax.chain(
            contrib.scale_by_muon((NEWTON_SCHULZ,) * 5, beta=b1, weight_dimension_numbers=_last_two_axes),
            optax.stateless(_adam_rms),
        ),
        "sgd": lambda: optax.trace(b1) if b1 else optax.identity(),
    }
    return rules[options.name]()


def transformation(options: Optimizer, params: Params) -> optax.GradientTransformation:
    """The chain up to the learning rate for the trained ones of these parameters, its rules checked against all names.

    Shapes suffice. It works on the tree that `trained` gives. The learning rate is the step's business: a count of its
    own here would lag behind after a skipped update.

    Raises:
      UserError: a regex that chooses nothing, or no regex at all.
    """
    check(options, params)
    factors = learning_rate_factors(options, params)
    params = trained(options, params)
    decays = tree.map_named(lambda name, _: tree.matches(options.decay, name), params)
    return optax.chain(
        optax.clip_by_global_norm(options.clip) if options.clip else optax.identity(),
        _update_rule(options, params),
        optax.add_decayed_weights(options.weight_decay, mask=decays),
        _scale_by(trained(options, factors)),
    )


def check(options: Optimizer, params: Params) -> None:
    """Refuses rules that choose no parameter. The clamp's default may: not every task has a scale."""
    tree.check_patterns([pattern for pattern, _ in options.groups], params, "optimizer.groups")
    tree.check_patterns(options.freeze, params, "optimizer.freeze")
    if options.freeze and not tree.names(trained(options, params)):
        given = ", ".join(map(repr, options.freeze))
        raise UserError(f"optimizer.freeze: {given} freezes every parameter, so nothing would train; leave some out")
    options_default = {field.name: field.default for field in dataclasses.fields(Optimizer)}
    for key in ("decay", "clamp"):
        value = getattr(options, key)
        if value != options_default[key]:
            patterns = value if key == "decay" else [pattern for pattern, *_ in value]
            tree.check_patterns(patterns, params, f"optimizer.{key}")


def learning_rate_factors(options: Optimizer, params: Params) -> Params:
    """For each parameter a number, or one for each block of a scanned stack: its group's factor times its layer's.

    Raises:
      UserError: layers are to be told apart, but there is no stack of blocks.
    """
    layers = layer_factors(options.layer_decay, params)

    def one(name: str, layer: Any) -> Any:
        return layer * next((value for pattern, value in options.groups if tree.matches([pattern], name)), 1.0)

    return tree.map_named(one, layers)


def trained(options: Optimizer, params: Params) -> Params:
    """The parameters that are not frozen: what has gradients, moments and an average."""
    return tree.pick(params, lambda name: not tree.matches(options.freeze, name)) if options.freeze else params


def clamp(options: Optimizer, params: Params) -> Params:
    """Parameters held within their bounds."""

    def one(name: str, value: jax.Array) -> jax.Array:
        for pattern, low, high in options.clamp:
            if tree.matches([pattern], name):
                value = jnp.clip(value, low, high)
        return value

    return tree.map_named(one, params)


def _update_rule(options: Optimizer, params: Params) -> optax.GradientTransformation:
    """Muon orthogonalises matrices; all else learns by Adam (Jordan et al. 2024)."""
    if options.name != "muon":
        return rule(options)
    adam = optax.scale_by_adam(options.b1, options.b2, options.eps)
    labels = tree.map_named(lambda name, p: "muon" if name.endswith("kernel") and len(p.shape) >= 2 else "adam", params)
    return optax.multi_transform({"muon": rule(options), "adam": adam}, labels)


def _last_two_axes(updates: Any) -> Any:
    """Scanned layers stack their matrices along a leading axis."""
    return jax.tree.map(lambda x: contrib.MuonDimensionNumbers(x.ndim - 2, x.ndim - 1), updates)


def _adam_rms(updates: Any, params: Any) -> Any:
    """Orthogonal updates scaled to the usual size of Adam's: one learning rate serves both (Liu et al. 2025)."""
    del params
    return jax.tree.map(lambda u: 0.2 * max(u.shape[-2:]) ** 0.5 * u, updates)


def _scale_by(factors: Any) -> optax.GradientTransformation:
    def update(updates, state, params=None):
        del params
        return jax.tree.map(lambda u, f: u if np.all(f == 1.0) else u * f, updates, factors), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
