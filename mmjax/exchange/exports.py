"""Hands a model to PyTorch users: a folder that transformers or open_clip loads unchanged, with the same numbers.

What the target cannot express is refused by the config keys that stand in the way. `--verify` runs both models on fixed
inputs and writes nothing that differs; it needs `pip install 'mmjax[torch]'`, the export itself does not.

examples:
  mmjax export --model runs/clip --to hf exported --verify
  mmjax export --model hf:openai/clip-vit-base-patch32 --to open_clip exported
  mmjax export --model runs/clip --to safetensors exported
"""

import argparse
import os
import pathlib
import shutil
import sys
from typing import Any

from mmjax.errors import RunError, UserError

TARGETS = ("hf", "open_clip", "safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `mmjax export` takes."""
    parser.add_argument("folder", type=pathlib.Path, metavar="DIR", help="where the files go; new, or an older export")
    parser.add_argument("--model", required=True, metavar="M", help="a bundle, a run, hf:... or open_clip:...")
    parser.add_argument("--to", required=True, choices=TARGETS, help="whose format")
    parser.add_argument("--verify", action="store_true", help="compare with the PyTorch model before anything is kept")
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, metavar="X", help="largest error that --verify accepts (default: 1e-4)"
    )


def run(args: argparse.Namespace) -> int:
    """Loads, writes, verifies, and moves the folder into place."""
    from mmjax.start import start_jax

    start_jax(distributed=False)
    from mmjax.bundle import load

    if args.folder.exists() and not (args.folder / "README.md").is_file() and any(args.folder.iterdir()):
        raise UserError(f"{args.folder}: is there and no export; take another folder")
    model = load(args.model)
    draft = args.folder.with_name(f".{args.folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        write(model, args.model, args.to, draft)
        if args.verify:
            check(model, args.to, draft, args.tolerance)
        replace(draft, args.folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
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
    """Runs both models; says so where it cannot.

    Raises:
      RunError: they differ by more than the tolerance.
    """
    from mmjax.exchange import verify

    if to == "safetensors":
        print("not verified: plain tensors have no model of another library to compare with", file=sys.stderr)
        return
    if missing := verify.missing(to):
        print(f"not verified: {missing} is not installed; pip install 'mmjax[torch]'", file=sys.stderr)
        return
    try:
        error = verify.largest_error(model, to, folder)
    except ImportError as broken:  # as of a torchvision that was made for another torch
        reason = str(broken).strip().splitlines()[0]
        raise RunError(f"--verify: {to} does not import here ({reason}); mend it, or leave out --verify") from None
    if not error <= tolerance:
        raise RunError(
            f"--verify: the exported model differs by {error:.1e}, more than {tolerance:.1e}; nothing was written"
        )
    print(f"verified: largest error {error:.1e} of the features' scale", file=sys.stderr)


def replace(draft: pathlib.Path, folder: pathlib.Path) -> None:
    """Puts the finished folder in place of an older one."""
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        os.replace(folder, old)
    os.replace(draft, folder)
    shutil.rmtree(old, ignore_errors=True)
