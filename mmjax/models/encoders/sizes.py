"""The usual sizes of transformers, by name."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Size:
    """Width, number of blocks, heads, and width of the MLP."""

    width: int
    depth: int
    heads: int
    mlp_dim: int


# Zhai et al. 2022, "Scaling Vision Transformers", table 2; So400m: Alabdulmohsin et al. 2023.
SIZES = {
    "Ti": Size(192, 12, 3, 768),
    "S": Size(384, 12, 6, 1536),
    "M": Size(512, 12, 8, 2048),
    "B": Size(768, 12, 12, 3072),
    "L": Size(1024, 24, 16, 4096),
    "So400m": Size(1152, 27, 16, 4304),
    "H": Size(1280, 32, 16, 5120),
    "g": Size(1408, 40, 16, 6144),
}


def resolve_size(
    name: str | None, width: int | None, depth: int | None, heads: int | None, mlp_dim: int | None
) -> Size:
    """The named size with the given parts in place of its own; without a name, `width` and `depth` are needed.

    Without a named size, heads have 64 channels where the width allows it, and the MLP is four times as wide.

    Raises:
      ValueError: unknown name, a name and a width, neither, or heads that do not divide the width.
    """
    if name is not None and name not in SIZES:
        raise ValueError(f"unknown size {name!r}; known: {', '.join(SIZES)}")
    if name is not None and width is not None:
        raise ValueError(f"size {name!r} has a width of its own: give size, or width and depth")
    if name is not None:
        base = SIZES[name]
    elif width is None or depth is None:
        raise ValueError(f"give size ({', '.join(SIZES)}), or width and depth")
    else:
        base = Size(width, depth, max(1, width // 64), 4 * width)
    chosen = Size(base.width, depth or base.depth, heads or base.heads, mlp_dim or base.mlp_dim)
    if chosen.width % chosen.heads:
        raise ValueError(f"width {chosen.width} does not divide into {chosen.heads} heads")
    return chosen
