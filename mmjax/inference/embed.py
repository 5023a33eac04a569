"""Embeds a data set into sharded files; started again, it goes on where it was.

example:
  mmjax embed --model runs/quickstart --data world:scenes/test --out embeddings
  mmjax embed --model bundle --data photos --out photos_npy --stream image --format npy --dtype float16
"""

import argparse
import json
import pathlib
from typing import Any

from mmjax import distributed
from mmjax.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `mmjax embed` takes."""
    parser.add_argument("--model", required=True, metavar="M", help="a bundle or run folder, hf:... or open_clip:...")
    parser.add_argument("--data", required=True, metavar="D", help="what to embed, in any form of docs/data.md")
    parser.add_argument(
        "--data-option", action="append", default=[], metavar="KEY=VALUE", help="an option of the source; repeatable"
    )
    parser.add_argument(
        "--out", required=True, type=pathlib.Path, metavar="DIR", help="folder to make, or to go on with"
    )
    parser.add_argument("--stream", metavar="NAMES", help="comma-separated (default: a stream of each kind)")
    parser.add_argument("--format", choices=("parquet", "npy"), default="parquet", help="of the shards (parquet)")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32", help="of the shards (float32)")
    parser.add_argument("--shard-rows", type=int, default=16384, metavar="N", help="rows a shard (default: 16384)")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="rows a batch (default: 256)")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes that decode beside this one (default: none)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N items")
    parser.add_argument(
        "--max-skip-rate", type=float, default=0.01, metavar="R", help="share of bad items that may be (default: 0.01)"
    )
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    distributed.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Embeds. Returns 0; too many bad items raise RunError."""
    if args.shard_rows < 1:
        raise UserError(f"--shard-rows must be at least 1, got {args.shard_rows}")
    if not 0 <= args.max_skip_rate <= 1:
        raise UserError(f"--max-skip-rate must lie in [0, 1], got {args.max_skip_rate:g}")
    from mmjax.start import start_jax

    start_jax()
    with distributed.joined(args):
        return embed(args)


def embed(args: argparse.Namespace) -> int:
    """Embeds, with all processes of the run; the first one writes and prints. Returns the exit code."""
    import jax

    from mmjax import load
    from mmjax.distributed.hosts import on_first
    from mmjax.inference.job import Job
    from mmjax.inference.manifest import from_dict
    from mmjax.inference.resume import begin
    from mmjax.mesh import MeshShape, make_mesh

    mesh = make_mesh(MeshShape())
    model = load(args.model, mesh)
    data, section = open_set(args, model, mesh.shape["data"] * mesh.shape["fsdp"])
    wanted = manifest_of(args, model, data, section)
    manifest = from_dict(on_first(lambda: begin(args.out, wanted).as_dict()), args.out)
    manifest = Job(model, data, args.out, mesh, args.max_skip_rate).run(manifest)
    if jax.process_index() == 0:
        report(args, manifest)
    return 0


def open_set(args: argparse.Namespace, model: Any, ways: int) -> tuple[Any, dict[str, Any]]:
    """The set with batches that divide among `ways` devices, and the section that names its source."""
    from mmjax.data.evaluation import EvalData
    from mmjax.data.sources import open_source
    from mmjax.inference.section import data_for

    section = data_for(args.data, args.data_option)
    rows = -(-args.batch_size // ways) * ways
    return EvalData(open_source(section, "--data"), model.streams, rows, args.limit, args.workers), section


def manifest_of(args: argparse.Namespace, model: Any, data: Any, section: dict[str, Any]) -> Any:
    """The manifest of a folder in which nothing is done yet."""
    from mmjax.inference.manifest import Manifest, Part, fingerprint
    from mmjax.inference.section import absolute
    from mmjax.items import width

    streams = {}
    for name in chosen(args.stream, model, section):
        stream = model.streams[name]
        dim = width(model.task, model.params, name, stream)
        streams[name] = Part(stream.kind, stream.field, data.count(name), dim)
    return Manifest(
        model=absolute(args.model),
        model_sha256=fingerprint(model),
        data=json.loads(json.dumps(section, default=str)),
        items=data.items,
        files=args.format,
        dtype=args.dtype,
        shard_rows=args.shard_rows,
        streams=streams,
    )


def chosen(names: str | None, model: Any, section: dict[str, Any]) -> list[str]:
    """The streams that are named, or else the first of each kind, of pictures alone where there are no captions."""
    from mmjax.inference import pictures

    if names:
        return list(dict.fromkeys(model.stream_name(name) for name in names.split(",")))
    kinds = dict.fromkeys(stream.kind for stream in model.streams.values())
    if section.get("name") == pictures.NAME:
        kinds = {"image": None}
    return [model.stream_name(kind) for kind in kinds]


def report(args: argparse.Namespace, manifest: Any) -> None:
    """Prints what is in the folder now."""
    streams = {
        name: {
            "rows": manifest.rows(name),
            "skipped": manifest.skipped(name),
            "dim": part.dim,
            "shards": len(part.shards),
        }
        for name, part in manifest.streams.items()
    }
    if args.json:
        print(json.dumps({"out": str(args.out), "streams": streams}, indent=2))
        return
    for name, numbers in streams.items():
        skipped = f", {numbers['skipped']:,} items skipped" if numbers["skipped"] else ""
        count = f"{numbers['shards']:,} shard{'s' * (numbers['shards'] != 1)}"
        print(f"{args.out}/{name}: {numbers['rows']:,} x {numbers['dim']} in {count}{skipped}")
