"""Finds the items of a folder of embeddings that are nearest to a text, a picture or one of the items.

example:
  mmjax search --index embeddings "a red circle left of a blue square"
  mmjax search --index embeddings dog.jpg --top 20 --html found.html
  mmjax search --index embeddings --stream caption id:17
"""

import argparse
import dataclasses
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from mmjax.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what `mmjax search` takes."""
    parser.add_argument("query", metavar="QUERY", help="a text, the path of a picture, or id:ID of an item")
    parser.add_argument("--index", required=True, type=pathlib.Path, metavar="DIR", help="what `mmjax embed` made")
    parser.add_argument("--stream", metavar="NAME", help="which stream to search in (default: the pictures)")
    parser.add_argument("--model", metavar="M", help="where the model is (default: where it was)")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="how many to find (default: 10)")
    parser.add_argument("--save-index", action="store_true", help="keep the index beside the shards")
    parser.add_argument("--html", type=pathlib.Path, metavar="FILE", help="write the pictures there, as one page")
    parser.add_argument("--json", action="store_true", help="print the hits as JSON")


def run(args: argparse.Namespace) -> int:
    """Searches and prints. Returns 0."""
    if args.top < 1:
        raise UserError(f"--top must be at least 1, got {args.top}")
    from mmjax.inference.index import import_faiss

    import_faiss()
    from mmjax.start import start_jax

    start_jax()
    from mmjax.inference.index import open_index
    from mmjax.inference.manifest import read
    from mmjax.inference.query import features, load_for, parse

    query = parse(args.query)
    manifest = read(args.index)
    stream = stream_of(args, manifest)
    index = open_index(args.index, manifest, stream, args.save_index)
    if not manifest.complete(stream):
        print(
            f"{args.index}: only the shards of {stream} that are done are searched; run `mmjax embed` to its end",
            file=sys.stderr,
        )
    point = features(query, index, lambda: load_for(manifest, args.model))
    hits = index.search(point, args.top)
    if args.html:
        write_page(args.html, query, hits, manifest, stream)
    show(args, stream, hits)
    return 0


def stream_of(args: argparse.Namespace, manifest: Any) -> str:
    """The stream that is named, by its name or kind; else the pictures, or what there is."""
    for name, part in manifest.streams.items():
        if args.stream in (name, part.kind):
            return name
    if args.stream:
        raise UserError(f"{args.index}: has no stream {args.stream!r}; it has {', '.join(manifest.streams)}")
    return next((name for name, part in manifest.streams.items() if part.kind == "image"), next(iter(manifest.streams)))


def show(args: argparse.Namespace, stream: str, hits: Sequence[Any]) -> None:
    """Prints the hits."""
    if args.json:
        found = [{"rank": rank, **dataclasses.asdict(hit)} for rank, hit in enumerate(hits, 1)]
        print(json.dumps({"query": args.query, "stream": stream, "hits": found}, indent=2, ensure_ascii=False))
        return
    wide = max(len(hit.id) for hit in hits)
    for rank, hit in enumerate(hits, 1):
        print(f"{rank:>3}  {hit.score:.4f}  {hit.id:<{wide}}  {hit.text or ''}".rstrip())


def write_page(file: pathlib.Path, query: Any, hits: Sequence[Any], manifest: Any, stream: str) -> None:
    """Writes the grid, with pictures from the data that was embedded."""
    from mmjax.data.decode import decode
    from mmjax.data.sources import open_source
    from mmjax.inference.grid import render, thumbnail

    fields = [part.field for part in manifest.streams.values() if part.kind == "image"]
    source = open_source(manifest.data, "the data of the index")
    asked = thumbnail(decode(pathlib.Path(query.value).read_bytes())) if query.kind == "image" else None
    subtitle = f"the {len(hits):,} nearest of {manifest.rows(stream):,} rows of {stream} in {source.name}"
    page = render(query.value, subtitle, asked, hits, source, fields[0] if fields else "image")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page, "utf-8")
