"""Makes the HTML page of a run.

example:
  mmjax report runs/quickstart
  mmjax report runs/mine --data photos/captions.jsonl --data-option caption=captions_en
"""

import argparse
import pathlib
from collections.abc import Sequence
from typing import Any

from mmjax.errors import UserError

ITEMS = 2000  # of the set that are searched for examples: the first ones


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run folder, on gs:// or s3:// too")
    parser.add_argument("--data", metavar="D", help="the examples' source (default: the run's own test set)")
    parser.add_argument(
        "--data-option", action="append", default=[], metavar="KEY=VALUE", help="an option of the source; repeatable"
    )
    parser.add_argument(
        "--recollect", action="store_true", help="pick the examples anew instead of using the kept ones"
    )


def run(args: argparse.Namespace) -> int:
    from mmjax.report import data, told
    from mmjax.storage import opened, place

    if not place(args.run).is_dir():
        raise UserError(f"{args.run}: no such run folder")
    with opened(args.run) as home:
        anew = args.recollect or args.data
        kept = [] if anew else [part for part in (told.load(home.folder), data.load(home.folder)) if part is not None]
        page = write_page(home.folder, kept) if kept else _remade(args, home.folder)
    print(home.remote / page.name)
    return 0


def _remade(args: argparse.Namespace, run: pathlib.Path) -> pathlib.Path:
    """Collects from the run's bundle; without a bundle, or without data, the page has no examples."""
    from mmjax import load
    from mmjax.data.evaluation import EvalData
    from mmjax.data.sources import open_source
    from mmjax.evaluation.verb import data_section

    try:
        model = load(run)
        section = data_section(args.data, args.data_option, model.config.get("config") or {})
        data = EvalData(open_source(section, "--data"), model.streams, batch_size=64)
    except UserError as error:
        if args.data:
            raise
        return write_page(run, [str(error)])
    return write_report(run, model, data)


def write_report(run: pathlib.Path, model: Any, data: Any) -> pathlib.Path:
    """Picks examples, keeps them in `RUN/report_data.npz` and `report_told.npz`, and writes `RUN/report.html`.

    All processes call it, for all of them compute; the first one writes.
    """
    import jax

    from mmjax.data.evaluation import EvalData
    from mmjax.evaluation.runner import make_evaluators
    from mmjax.report import data as embedded
    from mmjax.report import told

    if data.items > ITEMS:
        data = EvalData(data.source, data.streams, data.batch_size, limit=ITEMS, workers=data.workers)
    config = model.config.get("config") or {}
    parts = collected(model, data, make_evaluators((config.get("evaluate") or {}).get("on") or ()))
    for part in parts if jax.process_index() == 0 else ():
        if not isinstance(part, str):
            (told if isinstance(part, told.Told) else embedded).save(run, part)
    return write_page(run, parts)


def collected(model: Any, data: Any, evaluators: Any) -> list[Any]:
    """What there is to show of what the model can do: it embeds, writes, or both. Where that fails, why."""
    from mmjax.evaluation.runner import notes
    from mmjax.report.collect import collect
    from mmjax.report.collect_told import collect_told

    told_by, mesh = notes(evaluators, data), mesh_of(model.params)
    makers = {
        "generate": lambda: collect_told(model, data, evaluators.values(), told_by, mesh),
        "embed": lambda: collect(model, data, told_by, mesh),
    }
    parts: list[Any] = []
    for method, make in makers.items():
        if hasattr(model.task, method):
            try:
                parts.append(make())
            except UserError as error:
                parts.append(str(error))
    return parts


def write_page(run: pathlib.Path, parts: Sequence[Any]) -> pathlib.Path:
    """Renders to `RUN/report.html`, never leaving a half-written page."""
    import os

    import jax

    from mmjax.report.page import render

    page = run / "report.html"
    if jax.process_index() == 0:
        draft = page.with_suffix(".tmp")
        draft.write_text(render(run, parts), encoding="utf-8")
        os.replace(draft, page)
    return page


def mesh_of(params: Any) -> Any:
    """The mesh that the parameters live on, or None."""
    import jax

    shardings = [getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(params)]
    return next((s.mesh for s in shardings if isinstance(s, jax.sharding.NamedSharding)), None)
