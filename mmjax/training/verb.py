"""Train a model from a config, or resume: the same command goes on from the last checkpoint of its run folder.

Examples:
  mmjax train --config configs/quickstart.py --workdir runs/quickstart
  mmjax train --config configs/flickr8k.py:zh --workdir runs/zh --config.steps=200 --config.mesh.fsdp=4

Exit codes: 0 done, 1 failed, 2 wrong use, 75 stopped by SIGTERM, SIGINT or preemption after saving.
"""

import argparse
import sys
from typing import TYPE_CHECKING

from mmjax import distributed
from mmjax.errors import UserError

if TYPE_CHECKING:
    from ml_collections import ConfigDict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE.py[:ARG]", help="the experiment")
    parser.add_argument("--workdir", required=True, help="run folder, new or to be resumed; gs:// and s3:// too")
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
    from mmjax.storage import opened
    from mmjax.training.assemble import assemble
    from mmjax.training.loop import Trainer

    check_store(args.workdir)
    with opened(args.workdir) as home:
        trainer = Trainer(assemble(config, home), force=args.resume == "force")
        if code := trainer.train():
            return code
        finish_page(trainer, args, trainer.finish())
    return 0


def check_store(workdir: str) -> None:
    """Refuses a run folder to which the checkpoints of this run cannot be written."""
    import jax

    if workdir.startswith("s3://") and jax.process_count() > 1:
        raise UserError(f"{workdir}: s3:// holds the run of one host; several need gs:// or a file system they share")


def finish_page(trainer, args: argparse.Namespace, scores: dict[str, float | int]) -> None:
    """The report, then one table and the path of the report."""
    import jax

    run, page = trainer.run, None
    if trainer.run.experiment.log.report and trainer.run.test_data is not None:
        from mmjax.report.verb import write_report

        page = write_report(run.folder, trainer.model(), trainer.run.test_data)  # computes on all hosts
    if jax.process_index():
        return
    if args.json:
        import json

        json.dump(scores, sys.stdout, indent=2)
        print()
        return
    from mmjax.evaluation.verb import print_table

    print_table(scores)
    print(f"report: {run.home.remote / page.name}" if page else f"run folder: {run.home.remote}")
