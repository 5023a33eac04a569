"""Hands a model to PyTorch users: a folder that transformers or open_clip loads unchanged, with the same numbers.

What the target cannot express is refused by the config keys that stand in the way. `--verify` runs both models, their
preprocessing and their tokenizers on fixed inputs and writes nothing that differs; it needs
`pip install 'mmjax[torch]'`, the export itself does not.

examples:
  mmjax export --model runs/clip --to hf exported --verify
  mmjax export --model hf:openai/clip-vit-base-patch32 --to open_clip exported
  mmjax export --model runs/clip --to safetensors exported
"""

import argparse
import pathlib
import sys
from typing import Any

from mmjax.errors import RunError

TARGETS = ("hf", "open_clip", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `mmjax export` takes."""
    parser.add_argument("folder", type=pathlib.Path, metavar="DIR", help="where the files go; new, or an older export")
    parser.add_argument("--model", required=True, metavar="M", help="a bundle, a run, hf:... or open_clip:...")
    parser.add_argument("--to", required=True, choices=TARGETS, help="whose format")
    parser.add_argument("--verify", action="store_true", help="compare with the PyTorch model before anything is kept")
    parser.add_argument(
        "--tolerance", type=float, default=1e-5, metavar="X", help="largest error that --verify accepts (default: 1e-5)"
    )


def run(args: argparse.Namespace) -> int:
    """Loads, writes, verifies, and moves the folder into place."""
    from mmjax.start import start_jax

    start_jax()
    from mmjax.bundle import drafted, load
    from mmjax.exchange.places import check_export_place

    check_export_place(args.folder, args.model)
    model = load(args.model)
    with drafted(args.folder) as draft:
        write(model, args.model, args.to, draft)
        if args.verify:
            check(model, args.to, draft, args.tolerance)
    print(f"{args.folder}: written for {args.to}", file=sys.stderr)
    return 0


def write(model: Any, source: str, to: str, folder: pathlib.Path) -> None:
    """Everything of an export into a folder that exists."""
    import numpy as np
    from flax import traverse_util

    from mmjax.exchange.card import card
    from mmjax.exchange.tokenizer import save_tokenizer
    from mmjax.interop import exporter

    flat = {name: np.asarray(x) for name, x in traverse_util.flatten_dict(model.params, sep="/").items()}
    if to == "safetensors":
        plain(flat, folder)
    else:
        export = exporter.begin(to, model.config["task"], model.config["streams"])  # type: ignore[arg-type]
        exporter.write(export, flat, folder)
        save_tokenizer(model, export, folder)
    (folder / "README.md").write_text(card(model, source, to), "utf-8")


def plain(flat: dict[str, Any], folder: pathlib.Path) -> None:
    """Our own names: `towers_image.blocks_0.mlp.up.kernel`, for readers without a library."""
    from safetensors.numpy import save_file

    save_file({name.replace("/", "."): value for name, value in flat.items()}, folder / "model.safetensors")


def check(model: Any, to: str, folder: pathlib.Path, tolerance: float) -> None:
    """Runs both models, and both ways to prepare pictures and texts; says so where it cannot.

    Raises:
      RunError: they differ by more than the tolerance; it names what does.
    """
    from mmjax.exchange import verify

    if to == "safetensors":
        print("not verified: plain tensors have no model of another library to compare with", file=sys.stderr)
        return
    if missing := verify.missing(to):
        print(f"not verified: {missing} is not installed; pip install 'mmjax[torch]'", file=sys.stderr)
        return
    try:
        errors = verify.errors(model, to, folder)
    except ImportError as broken:  # as of a torchvision that was made for another torch
        reason = str(broken).strip().splitlines()[0]
        raise RunError(f"--verify: {to} does not import here ({reason}); mend it, or leave out --verify") from None
    # A NaN is below nothing.
    if wrong := [f"{name} by {error:.1e}" for name, error in errors.items() if not error <= tolerance]:
        raise RunError(
            f"--verify: the exported model differs: {', '.join(wrong)}, more than {tolerance:.1e}; nothing was written"
        )
    print(f"verified: largest error {max(errors.values()):.1e} of the features' scale", file=sys.stderr)
