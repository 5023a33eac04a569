"""mmjax: pretrain, compare and ship multimodal models in JAX and Flax.

    model = mmjax.load("runs/quickstart")
    model.embed(text=["a red circle left of a blue square"])

Names are imported when they are first used: `import mmjax` alone costs nothing.
"""

__version__ = "0.1.0"
__all__ = ["Model", "load", "save", "sections"]

TYPE_CHECKING = False  # as typing.TYPE_CHECKING, without importing typing
if TYPE_CHECKING:
    from mmjax.bundle import Model, load, save, sections


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'mmjax' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("mmjax.bundle"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
