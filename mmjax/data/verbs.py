"""Check, convert and describe data, and train a tokenizer on its captions.

PATH is a folder, captions.jsonl|csv|tsv, shards-{000..099}.tar, FILES.parquet, FILES.array_record, tfds:NAME/split,
world:scenes/split or my_lab.sources:Thing.

  mmjax data check photos/
  mmjax data convert 'shards-{000..099}.tar' converted/ --shards 10 --caption captions_en --where split=train
  mmjax data describe photos/captions.csv --out sheet.png
  mmjax data tokenizer photos/ tokenizer/ --size 8000
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmjax.errors import UserError

if TYPE_CHECKING:
    from mmjax.data.check import Seen
    from mmjax.data.sources import Source

LISTED = 50  # broken items on the screen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="check|convert|describe|tokenizer")
    check = _action(actions, "check", "decode everything and list what is broken; exit code 1 if anything is")
    _add_scan(check)
    convert = _action(actions, "convert", "write sharded ArrayRecord; bad items are left out and listed")
    convert.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    convert.add_argument("--shards", type=int, default=1, help="files to spread the items over (default 1)")
    _add_scan(convert)
    describe = _action(actions, "describe", "print counts, sizes and caption lengths; write a contact sheet")
    describe.add_argument("--out", type=Path, default=Path("contact_sheet.png"), help="the sheet (contact_sheet.png)")
    _add_scan(describe)
    tokenizer = _action(actions, "tokenizer", "train a BPE tokenizer on the captions")
    tokenizer.add_argument("out", metavar="OUT", type=Path, help="folder to make")
    tokenizer.add_argument("--size", type=int, default=8000, help="entries of the vocabulary (default 8000)")


def _action(actions: Any, name: str, summary: str) -> argparse.ArgumentParser:
    example = next(line for line in (__doc__ or "").splitlines() if line.startswith(f"  mmjax data {name}"))
    parser = actions.add_parser(name, help=summary, description=f"{summary}\n\nExample:\n{example}")
    parser.add_argument("path", metavar="PATH", help="the data")
    parser.add_argument("--caption", metavar="FIELD", help="field of the caption or captions")
    parser.add_argument("--image", metavar="FIELD", help="field of the image")
    pair = {"action": "append", "default": [], "metavar": "KEY=VALUE"}
    parser.add_argument("--where", help="only the items whose field KEY is VALUE; may be repeated", **pair)
    parser.add_argument("--option", help="any other option of the source; may be repeated", **pair)
    return parser


def _add_scan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, help="processes; 0 for none beside this one (default: one a core)")
    parser.add_argument("--limit", type=int, help="only the first so many items")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")


def run(args: argparse.Namespace) -> int:
    for name in ("workers", "limit"):
        if (getattr(args, name, None) or 0) < 0:
            raise UserError(f"--{name} must not be negative")
    return {"check": _check, "convert": _convert, "describe": _describe, "tokenizer": _tokenizer}[args.action](args)


def section(args: argparse.Namespace) -> dict[str, Any]:
    """The config section that the arguments stand for. PATH may be the bare name of a source, such as idx."""
    from mmjax.config import literal
    from mmjax.data.sources import SOURCES

    named = args.path in SOURCES and not Path(args.path).exists()
    out: dict[str, Any] = {"name" if named else "path": args.path}
    out |= {key: literal(value) for key, value in _pairs(args.option, "--option").items()}
    if args.where:
        out["where"] = _pairs(args.where, "--where")
    return out | {key: getattr(args, key) for key in ("caption", "image") if getattr(args, key)}


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise UserError(f"{option} {text}: write it as KEY=VALUE")
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def _open(args: argparse.Namespace) -> "Source":
    from mmjax.data.sources import open_source

    return open_source(section(args), "PATH")


def _check(args: argparse.Namespace) -> int:
    from mmjax.data.check import check

    count, broken = 0, []
    for seen in check(_open(args), args.workers, args.limit):
        count += 1
        broken += [seen] if seen.faults else []
    items = sum(s.reason is not None for s in broken)
    captions = sum(len(s.dropped) for s in broken)
    _list(broken)
    print(f"{count:,} items: {items:,} broken, {captions:,} captions left out of good ones")
    faults = [{"index": s.index, "id": s.id, "reason": s.reason, "captions_left_out": s.dropped} for s in broken]
    _write_json(args.json, {"items": count, "broken": items, "captions_left_out": captions, "faults": faults})
    return 1 if broken else 0


def _list(broken: Sequence["Seen"]) -> None:
    lines = [(str(s.index), s.id, s.reason or f"left out: {'; '.join(s.dropped)}") for s in broken[:LISTED]]
    if not lines:
        return
    wide = [max(len(line[column]) for line in [("item", "id"), *lines]) for column in (0, 1)]
    for index, name, reason in [("item", "id", "what is wrong"), *lines]:
        print(f"{index:>{wide[0]}}  {name.encode(errors='replace').decode():<{wide[1]}}  {reason}")
    if len(broken) > LISTED:
        print(f"... and {len(broken) - LISTED:,} more; --json FILE lists them all")
    print()


def _convert(args: argparse.Namespace) -> int:
    from mmjax.data.convert import SKIPPED, convert

    result = convert(_open(args), args.out, args.shards, args.workers, args.limit)
    listed = f", listed in {args.out / SKIPPED}" if result["skipped"] else ""
    print(f"{args.out}: {result['items']:,} items in {args.shards} files; {result['skipped']:,} skipped{listed}")
    _write_json(args.json, result)
    return 0


def _describe(args: argparse.Namespace) -> int:
    from mmjax.data.check import check
    from mmjax.data.describe import summary, table, write_sheet

    source = _open(args)
    seen = list(check(source, args.workers, args.limit))
    numbers = summary(seen)
    print(f"{source.name}\n{table(numbers)}\n")
    _list([s for s in seen if s.faults])
    if numbers["broken"] == numbers["items"]:
        print("no contact sheet: no item is good", file=sys.stderr)
    else:
        missing = write_sheet(source, seen, args.out)
        print(f"contact sheet: {args.out}")
        if missing:
            print(f"no font here draws {missing[:20]}: install one, e.g. fonts-noto-cjk", file=sys.stderr)
    _write_json(args.json, numbers)
    return 0


def _tokenizer(args: argparse.Namespace) -> int:
    from mmjax.data.tokenizers import train_bpe

    print(f"tokenizer: {train_bpe(_captions(_open(args)), args.size, args.out)}")
    return 0


def _captions(source: "Source") -> Iterator[str]:
    from mmjax import progress
    from mmjax.errors import BadItem

    with progress.bar("reading captions", len(source)) as advance:
        for index in range(len(source)):
            advance()
            try:
                truth = source.truth(index)
                yield from source.captions(index)
                if "question" in truth:
                    yield from (truth["question"], *truth["answers"])
            except BadItem:
                continue  # `mmjax data check` lists it


def _write_json(file: Path | None, result: dict[str, Any]) -> None:
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
