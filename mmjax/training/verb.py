"""Train a model from a config, or resume: the same command goes on from the last checkpoint of its run folder.

Examples:
  mmjax train --config configs/quickstart.py --workdir runs/quickstart
  mmjax train --config configs/flickr8k.py:zh --workdir runs/zh --config.steps=200 --config.mesh.fsdp=4

Exit codes: 0 done, 1 failed, 2 wrong use, 75 stopped by SIGTERM, SIGINT or preemption after saving.
"""

import argparse
import pathlib
import sys
from typing import TYPE_CHECKING

from mmjax import distributed

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE.py[:ARG]", help="the experiment")
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="run folder, new or to be resumed")
    parser.add_argument(
        "--resume", choices=("auto", "force"), default="auto", help="force: go on with a changed config"
    )
    parser.add_argument("--json", action="store_true", help="print the final numbers as JSON")
    distributed.add_arguments(parser)
    parser.set_defaults(overrides={})


def run(args: argparse.Namespace) -> int:
    from mmjax.config import read
    from mmjax.start import start_jax

    config = read(args.config, args.overrides)
    start_jax()
    with distributed.joined(args):
        return train(config, args)


def train(config: "ConfigDict", args: argparse.Namespace) -> int:
    """Trains, evaluates and reports, with all processes of the run. Returns the exit code."""
    args.workdir.mkdir(parents=True, exist_ok=True)
    from mmjax.training.assemble import assemble
    from mmjax.training.loop import Trainer

    trainer = Trainer(assemble(config, args.workdir), force=args.resume == "force")
    if code := trainer.train():
        return code
    scores = trainer.finish()
    finish_page(trainer, args, scores)
    return 0


def finish_page(trainer, args: argparse.Namespace, scores: dict[str, float | int]) -> None:
    """The report, then one table and the path of the report."""
    import jax

    folder, page = args.workdir, None
    if trainer.run.experiment.log.report and trainer.run.test_data is not None:
        from mmjax.report.verb import write_report

        page = write_report(folder, trainer.model(), trainer.run.test_data)  # computes on all hosts
    if jax.process_index():
        return
    if args.json:
        import json

        json.dump(scores, sys.stdout, indent=2)
        print()
        return
    from mmjax.evaluation.verb import print_table

    print_table(scores)
    print(f"report: {page}" if page else f"run folder: {folder}")
