"""Which axis each parameter is split over: an ordered list of (regex, rule) on one screen."""

from collections.abc import Sequence
from typing import Any

from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from mmjax.training import tree

Rule = tuple[str | None, ...]

# Trailing dimensions of a parameter → mesh axes; the first match counts. Leading dimensions (scanned layers) stay
# whole, and so does a dimension that its axis does not divide. Column-parallel matrices come before row-parallel ones
# in a block, so tensor parallelism needs one all-reduce per attention and one per MLP (Shoeybi et al. 2019).
RULES: tuple[tuple[str, Rule], ...] = (
    (r"(query|key|value|up|gate)/kernel$", ("fsdp", "tensor")),
    (r"(query|key|value|up|gate)/bias$", ("tensor",)),
    (r"(out|down)/kernel$", ("tensor", "fsdp")),
    (r"embedding$", ("tensor", "fsdp")),
    (r"(position_table|type_table|register_tokens)$", (None, "fsdp")),
    (r"kernel$", ("fsdp", None)),
    # Factors of a LoRA, whose product is split as its kernel is without anything sent; the rank stays whole.
    (r"(query|key|value|up|gate)/kernel_lora_a$", ("fsdp", None)),
    (r"(query|key|value|up|gate)/kernel_lora_b$", (None, "tensor")),
    (r"((out|down)/kernel|embedding)_lora_a$", ("tensor", None)),
    (r"((out|down)/kernel|embedding)_lora_b$", (None, "fsdp")),
    (r"kernel_lora_a$", ("fsdp", None)),
)


def spec(name: str, shape: Sequence[int], mesh: Mesh | AbstractMesh) -> PartitionSpec:
    """How a parameter of this name and shape is split."""
    rule = next((rule for pattern, rule in RULES if tree.matches([pattern], name)), ())
    if len(rule) > len(shape):
        return PartitionSpec()
    lead = len(shape) - len(rule)
    axes = [axis if axis and shape[lead + i] % mesh.shape[axis] == 0 else None for i, axis in enumerate(rule)]
    return PartitionSpec(*[None] * lead, *axes)


def shardings(params: Any, mesh: Mesh | AbstractMesh) -> Any:
    """A sharding for each leaf; optimizer moments end in their parameter's name and so follow it."""
    return tree.map_named(lambda name, leaf: NamedSharding(mesh, spec(name, leaf.shape, mesh)), params)
