"""Makes a bundle of PyTorch weights: of a name on the Hub, a folder, or a file of transformers or open_clip.

A bundle is what every other verb takes; `hf:NAME` and `open_clip:NAME` also stand for a model wherever one is asked
for. A folder, or a file with its config beside it, needs no scheme.
Reading safetensors needs no torch. All weights become float32.

examples:
  mmjax import hf:openai/clip-vit-base-patch32 models/clip
  mmjax import downloads/dinov2-base models/dinov2 --image-size 336
  mmjax import open_clip:ViT-B-32-quickgelu@weights.safetensors models/b32
"""

import argparse
import pathlib
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `mmjax import` takes."""
    parser.add_argument("source", metavar="SOURCE", help="hf:NAME, open_clip:NAME, open_clip:NAME@FILE, or a path")
    parser.add_argument(
        "folder", type=pathlib.Path, metavar="DIR", help="where the bundle goes; new, or an older bundle"
    )
    parser.add_argument("--image-size", type=int, metavar="N", help="pixels on a side; position tables are resized")
    parser.add_argument("--text-length", type=int, metavar="N", help="ids a row (default: the model's, at most 512)")
    parser.add_argument("--tokenizer", metavar="T", help="a folder or name, in place of the one beside the weights")
    parser.add_argument(
        "--drop", action="append", default=[], metavar="REGEX", help="tensors to leave out, as a classifier; repeatable"
    )


def run(args: argparse.Namespace) -> int:
    """Reads, checks and saves."""
    from mmjax.start import start_jax

    start_jax()
    from mmjax.bundle import load_weights, save
    from mmjax.exchange.places import check_bundle_place
    from mmjax.interop.importer import Options

    check_bundle_place(args.folder, [args.source])
    options = Options(args.image_size, args.text_length, args.tokenizer, tuple(args.drop))
    model = load_weights(args.source, options)
    save(args.folder, model)
    print(f"{args.folder}: {summary(model)}", file=sys.stderr)
    return 0


def summary(model) -> str:
    """What was imported, in half a line."""
    import jax

    count = sum(x.size for x in jax.tree.leaves(model.params))
    towers = model.config["task"]["towers"]
    sizes = ", ".join(f"{name} {tower['width']} x {tower['depth']}" for name, tower in towers.items())
    return f"{model.config['task']['name']} ({sizes}), {count / 1e6:.1f} M parameters"
