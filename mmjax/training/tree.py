"""Parameter paths, and rules that choose parameters by regex on them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
from flax import traverse_util

from mmjax.errors import UserError


def path_name(path: Sequence[Any]) -> str:
    """A key path as `towers_image/block_0/mlp/up/kernel`."""
    return "/".join(str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", key)))) for key in path)


def map_named(fn: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`jax.tree.map` whose function gets the leaf's path name first."""
    return jax.tree_util.tree_map_with_path(lambda path, *leaves: fn(path_name(path), *leaves), tree, *rest)


def names(tree: Any) -> list[str]:
    """The path names of all leaves, in order."""
    return [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether any pattern is found in the name."""
    return any(re.search(pattern, name) for pattern in patterns)


def check_patterns(patterns: Iterable[str], tree: Any, where: str) -> None:
    """Refuses a pattern that chooses no parameter: a rule that does nothing is a typing mistake."""
    known = names(tree)
    for pattern in patterns:
        try:
            found = any(re.search(pattern, name) for name in known)
        except re.error as error:
            raise UserError(f"{where}: {pattern!r} is no regular expression ({error})") from None
        if not found:
            raise UserError(f"{where}: {pattern!r} matches no parameter; the first are {', '.join(known[:4])}")


def pick(tree: Mapping[str, Any], chosen: Callable[[str], bool]) -> dict[str, Any]:
    """The part of a nested dict whose path names are chosen, under the same names."""
    flat = traverse_util.flatten_dict(tree, sep="/")
    return traverse_util.unflatten_dict({name: leaf for name, leaf in flat.items() if chosen(name)}, sep="/")


def overlay(tree: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dict with the leaves of `part` in place of its own."""
    flat = traverse_util.flatten_dict(tree, sep="/", keep_empty_nodes=True)
    return traverse_util.unflatten_dict(flat | traverse_util.flatten_dict(part, sep="/"), sep="/")
