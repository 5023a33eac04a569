"""Scores a model on data.

example:
  mmjax evaluate --model runs/quickstart --data world:scenes/test --on retrieval,foils
  mmjax evaluate --model bundle --data photos/captions.jsonl --data-option caption=captions_en --json scores.json
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mmjax import distributed
from mmjax.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="M", help="a bundle or run folder, hf:NAME or open_clip:NAME")
    parser.add_argument("--data", metavar="D", help="what to evaluate on (default: the run's own test set)")
    parser.add_argument(
        "--data-option", action="append", default=[], metavar="KEY=VALUE", help="an option of the source; repeatable"
    )
    parser.add_argument("--on", metavar="NAMES", help="evaluators, comma-separated (default: those of the run)")
    parser.add_argument("--prompts", metavar="P", help="for zero_shot: a shipped set, imagenet, or a .json file")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="rows a batch (default: 256)")
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="processes that decode beside this one (default: none)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N items")
    parser.add_argument("--json", metavar="FILE", help="write {name: number} there; - prints it instead of the table")
    distributed.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    from mmjax.start import start_jax

    start_jax()
    with distributed.joined(args):
        return score(args)


def score(args: argparse.Namespace) -> int:
    """Evaluates, with all processes of the run; the first one prints. Returns the exit code."""
    import jax

    from mmjax import load
    from mmjax.data.evaluation import EvalData
    from mmjax.data.sources import open_source
    from mmjax.evaluation.runner import evaluate, make_evaluators
    from mmjax.mesh import MeshShape, make_mesh

    mesh = make_mesh(MeshShape())
    model = load(args.model, mesh)
    config = model.config.get("config") or {}
    evaluators = make_evaluators(chosen(args.on, args.prompts, config), "--on")
    source = open_source(data_section(args.data, args.data_option, config), "--data")
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    rows = -(-args.batch_size // ways) * ways
    data = EvalData(source, model.streams, rows, limit=args.limit, workers=args.workers)
    metrics = evaluate(model.task, model.params, data, evaluators, mesh)
    if jax.process_index():
        return 0
    if args.json == "-":
        print(json.dumps(metrics, indent=2))
        return 0
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(metrics, indent=2) + "\n")
    print_table(metrics)
    print_skipped(data.skipped)
    return 0


def chosen(on: str | None, prompts: str | None, config: Mapping[str, Any]) -> dict[str, Any]:
    """`{evaluator: its options}`: those named, or else the run's, or else retrieval, with the run's own options."""
    known = (config.get("evaluate") or {}).get("on") or ("retrieval",)
    sections = {name: dict(known[name] or {}) if isinstance(known, Mapping) else {} for name in known}
    if on:
        sections = {name: sections.get(name, {}) for name in on.split(",")}
    if prompts:
        if "zero_shot" not in sections:
            raise UserError("--prompts is for zero_shot; add it to --on")
        sections["zero_shot"]["prompts"] = prompts
    return sections


def data_section(data: str | None, options: Sequence[str], config: Mapping[str, Any]) -> Any:
    """The source to open: `--data` with its options, or the run's test set."""
    from mmjax.config import literal

    pairs = [option.partition("=") for option in options]
    if bad := [key for key, equals, _ in pairs if not equals]:
        raise UserError(f"--data-option {bad[0]}: write it as KEY=VALUE")
    if data:
        return {"path": data, **{key: literal(value) for key, _, value in pairs}} if pairs else data
    if pairs:
        raise UserError("--data-option goes with --data")
    own = config.get("data") or {}
    section = own.get("test") or own.get("eval")
    if not section:
        raise UserError("--data is missing, and the run of this model names no data.test or data.eval")
    return section


def print_table(metrics: Mapping[str, float]) -> None:
    """Prints one table of metrics; rates are fractions, and a hash is shown as such."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("metric", box=None)
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        if name.endswith("sha256"):
            table.add_row(escape(name), f"{int(value):012x}")
        else:
            table.add_row(escape(name), f"{value:,}" if isinstance(value, int) else f"{value:.4f}")
    Console().print(table)


def print_skipped(skipped: Sequence[Any], show: int = 5) -> None:
    """The first items that could not be read, and how many more there are."""
    for skip in skipped[:show]:
        print(f"skipped {skip.id}: {skip.reason}", file=sys.stderr)
    if len(skipped) > show:
        print(f"... and {len(skipped) - show} more", file=sys.stderr)
