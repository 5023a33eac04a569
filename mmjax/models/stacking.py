"""A stack of blocks under two names: `blocks_0`, `blocks_1`, ... one by one, or `blocks` with a leading axis (scanned).

Pure functions on flat `{path: array}` dicts, paths as in `towers_image/transformer/blocks_0/mlp/up/kernel`.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

import jax
import numpy as np

Array = np.ndarray | jax.Array  # parameters that need no restacking may lie on devices already

ONE = re.compile(r"^((?:.*/)?blocks)_(\d+)/(.+)$")
ALL = re.compile(r"^((?:.*/)?blocks)/(.+)$")

Flat = dict[str, Array]


def is_stacked(name: str) -> bool:
    """Whether the parameter's leading axis counts the blocks of a scanned stack."""
    return ALL.match(name) is not None


def stack(flat: Mapping[str, Array]) -> Flat:
    """`blocks_i/REST [...]` of every stack as `blocks/REST [depth, ...]`; all else as it is.

    A parameter that some block of its stack lacks, or has in another shape, stays as it is too.
    """
    out, groups = dict(flat), defaultdict[tuple[str, str], dict[int, str]](dict)
    for name in flat:
        if match := ONE.match(name):
            groups[match[1], match[3]][int(match[2])] = name
    depths = {prefix: 1 + max(max(g) for (p, _), g in groups.items() if p == prefix) for prefix, _ in groups}
    for (prefix, rest), group in groups.items():
        shapes = {np.shape(flat[name]) for name in group.values()}
        if len(group) == depths[prefix] and len(shapes) == 1:
            out[f"{prefix}/{rest}"] = np.stack([out.pop(group[i]) for i in range(len(group))])
    return out


def unstack(flat: Mapping[str, Array]) -> Flat:
    """`blocks/REST [depth, ...]` of every stack as `blocks_i/REST [...]`; all else as it is. Undoes `stack`."""
    out: Flat = {}
    for name, value in flat.items():
        match = ALL.match(name)
        out |= {f"{match[1]}_{i}/{match[2]}": row for i, row in enumerate(value)} if match else {name: value}
    return out


def stacked_as(flat: Mapping[str, Array], names: Iterable[str]) -> Flat:
    """The same parameters with each stack in the form that it has among `names`; a stack that is not there stays."""
    names = list(names)
    whole = {match[1] for name in names if (match := ALL.match(name))}
    single = {match[1] for name in names if (match := ONE.match(name))}
    to_stack = {name: value for name, value in flat.items() if (match := ONE.match(name)) and match[1] in whole}
    to_unstack = {name: value for name, value in flat.items() if (match := ALL.match(name)) and match[1] in single}
    rest = {name: value for name, value in flat.items() if name not in to_stack and name not in to_unstack}
    return rest | stack(to_stack) | unstack(to_unstack)
