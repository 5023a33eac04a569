"""Learning-rate schedules: functions of the step."""

from typing import Any

import jax.numpy as jnp
import optax

from mmjax.errors import UserError


def schedule(kind: str, peak: float, steps: int, warmup: float, cooldown: float, floor: float) -> optax.Schedule:
    """Linear warmup, then one of three courses.

    Args:
      kind: "cosine" down to `floor`; "rsqrt" falling as 1/sqrt(step), then a linear cooldown; "constant", then a
        linear cooldown (Zhai et al. 2022, section 3.5; Hu et al. 2024 call the last one WSD).
      peak: the highest learning rate.
      steps: steps of the run.
      warmup, cooldown: lengths; below 1 a share of `steps`, else a number of steps.
      floor: the last learning rate, as a share of the peak.
    """
    warm, cool = (round(x * steps) if x < 1 else round(x) for x in (warmup, cooldown))
    if warm + cool > steps:
        raise UserError(f"optimizer: warmup ({warm}) and cooldown ({cool}) are longer than the run ({steps} steps)")
    if kind == "cosine":
        body = optax.cosine_decay_schedule(peak, max(steps - warm, 1), alpha=floor)
    elif kind == "rsqrt":
        timescale = max(warm, 1)
        body = _cooled(lambda step: peak * (timescale / (step + timescale)) ** 0.5, steps - warm, cool, floor * peak)
    else:
        body = _cooled(lambda step: peak, steps - warm, cool, floor * peak)
    # The first step already learns: a warmup from exactly zero would waste it.
    rise = optax.linear_schedule(peak / max(warm, 1), peak, max(warm - 1, 1))
    return optax.join_schedules([rise, body], [warm]) if warm else body


def _cooled(course: optax.Schedule, steps: int, cool: int, end: float) -> optax.Schedule:
    """`course`, falling linearly to `end` over the last `cool` steps."""
    if not cool:
        return course
    start = steps - cool

    def fn(step: Any) -> Any:
        share = jnp.clip((step - start) / cool, 0.0, 1.0)
        return course(step) * (1 - share) + end * share

    return fn
