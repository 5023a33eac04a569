"""The PyTorch side of a comparison, imported so that it works beside a CPU-only torch."""

import importlib.util
import types
from typing import Any

import pytest

_operators: Any = None  # the registration lasts as long as this object


def mend_torchvision() -> None:
    """Declares two of torchvision's operators where its binary does not match torch; without them no import succeeds.

    Call it before the first import of torchvision, which includes open_clip and the image processors of transformers.
    """
    global _operators
    if _operators is not None or not (importlib.util.find_spec("torch") and importlib.util.find_spec("torchvision")):
        return
    import torch

    try:
        torch.ops.torchvision.nms  # noqa: B018 a binary that matches has them
    except AttributeError:
        _operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def import_open_clip() -> types.ModuleType:
    """`open_clip`, or a skip that says how to have it."""
    if not all(map(importlib.util.find_spec, ("torch", "torchvision", "open_clip"))):
        pytest.skip("open_clip and torch are not installed: pip install 'mmjax[torch]'")
    mend_torchvision()
    import open_clip

    return open_clip
