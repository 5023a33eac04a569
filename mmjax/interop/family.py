"""What a family of models is: how its config, its tensors and its preprocessing read as ours, and ours as theirs.

One table serves both directions, so what goes out is what came in, reversed, and cannot drift from it.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from mmjax.interop.layouts import PLAIN, TRANSPOSE, Layout
from mmjax.interop.positions import Resize

Config = Mapping[str, Any]
Flat = dict[str, Any]  # dotted key → value


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One tensor of theirs. `{i}` stands for the block, in both names.

    Attributes:
      theirs: its name in their checkpoint.
      ours: the parameters that it holds, one or several.
      layout: how it lies.
    """

    theirs: str
    ours: tuple[str, ...]
    layout: Layout = PLAIN

    def at(self, block: int) -> "Tensor":
        """The tensor of one block."""
        place = lambda name: name.replace("{i}", str(block))  # noqa: E731  # names hold no other braces
        return Tensor(place(self.theirs), tuple(map(place, self.ours)), self.layout)


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of their config that is one key of ours.

    Attributes:
      theirs, ours: dotted keys.
      values: theirs → ours where the values have other names; any other value is refused.
    """

    theirs: str
    ours: str
    values: Mapping[Any, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of models in one library's format.

    Attributes:
      name: what messages and model cards call it.
      library: whose format it is: "hf" (transformers) or "open_clip".
      accepts: whether a config of theirs is of this family.
      head: keys of an exported config beside those of the map: its `model_type`, for instance.
      architecture: the class that loads an export.
      keys: the keys of the config that correspond.
      fixed: keys of our task section that are always so in this family.
      required: keys of theirs whose only expressible values are these; others are refused by name.
      table: the tensors of a task section.
      complete: their config with its defaults written out.
      adapt: what no key can say: (their config, tensor names) → more of our flat section.
      optional: of our flat section → those names of optional tensors that `adapt` looks for.
      restore: our flat section → more of their flat config.
      prefixes: of their tensor names, of a model with a head around this one: "", "bert.", ...
      ignore: regexes of their tensors that hold nothing learnt, such as buffers.
      tied: their tensors that repeat another: {"lm_head.weight": "transformer.wte.weight"}.
      blank: tensors that their format wants and our model has no use for: name → shape of a task section.
      resize: ours → how the table is resized for pictures of another size.
      processor: the kind of preprocessing; see `interop.processors`.
    """

    name: str
    library: Literal["hf", "open_clip"]
    architecture: str
    keys: tuple[Key, ...]
    fixed: Config
    table: Callable[[Config], tuple[Tensor, ...]]
    processor: str
    accepts: Callable[[Config], bool]
    head: Config = dataclasses.field(default_factory=dict)
    required: Config = dataclasses.field(default_factory=dict)
    complete: Callable[[Config], Config] = lambda config: config
    adapt: Callable[[Config, Collection[str]], Flat] = lambda config, names: {}
    optional: Callable[[Flat], Collection[str]] = lambda flat: ()
    restore: Callable[[Flat], Flat] = lambda flat: {}
    prefixes: tuple[str, ...] = ("",)
    ignore: tuple[str, ...] = ()
    tied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    blank: Callable[[Config], Mapping[str, tuple[int, ...]]] = lambda task: {}
    resize: Mapping[str, Resize] = dataclasses.field(default_factory=dict)


def model_type(*names: str) -> Callable[[Config], bool]:
    """Whether a config of transformers names one of these model types."""
    return lambda config: config.get("model_type") in names


def linear(theirs: str, ours: str, bias: bool = True) -> tuple[Tensor, ...]:
    """torch's Linear `[out, in]` against our Dense `[in, out]`."""
    kernel = Tensor(f"{theirs}.weight", (f"{ours}/kernel",), TRANSPOSE)
    return (kernel, Tensor(f"{theirs}.bias", (f"{ours}/bias",))) if bias else (kernel,)


def norm(theirs: str, ours: str) -> tuple[Tensor, ...]:
    """LayerNorm: weight and bias against scale and bias."""
    return Tensor(f"{theirs}.weight", (f"{ours}/scale",)), Tensor(f"{theirs}.bias", (f"{ours}/bias",))


def embedding(theirs: str, ours: str) -> tuple[Tensor, ...]:
    """A lookup table, which lies alike on both sides."""
    return (Tensor(f"{theirs}.weight", (ours,)),)
