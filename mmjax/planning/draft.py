"""Config → what a step's program follows from, with no data and no vocabulary read: shapes are all that counts."""

from collections.abc import Mapping
from typing import Any

from jax.sharding import AbstractMesh, Mesh
from ml_collections import ConfigDict

from mmjax.config import build, plain
from mmjax.data.tokenizers import TOKENIZERS
from mmjax.mesh import check_batch
from mmjax.training.assemble import Blueprint, build_streams, build_task, complete, freeze
from mmjax.training.experiment import Experiment
from mmjax.training.step import check_accumulation

STAND_IN = "bytes"  # always at hand, and its rows have the shape of any other's


def draft(config: ConfigDict, experiment: Experiment, mesh: Mesh | AbstractMesh) -> Blueprint:
    """As `training.assemble.assemble`, for devices that need not exist.

    A tokenizer that the run would train has the size that the config wants. One that the run would download is not
    needed where its tower's section gives `vocabulary`; else it is read.

    Raises:
      UserError: any mistake in the config that needs no data to be found.
    """
    ways = mesh.shape["data"] * mesh.shape["fsdp"]
    check_batch(experiment.batch_size, mesh)
    check_accumulation(experiment.optimizer, experiment.batch_size, ways)
    sections, task_section = plain(config.data.streams), plain(experiment.task)
    for name, section in sections.items():
        tower = task_section.get("towers", {}).get(task_section.get("streams", {}).get(name))
        if "tokenizer" in section:
            where = f"config.data.streams.{name}.tokenizer"
            section["tokenizer"] = STAND_IN if tower is None else _stand_in(section["tokenizer"], tower, where)
    _, streams = build_streams(sections)
    task, lora = build_task(experiment, complete(task_section, streams), streams)
    experiment = experiment if lora is None else freeze(experiment, lora.frozen)
    return Blueprint(experiment=experiment, mesh=mesh, streams=streams, task=lora or task)


def _stand_in(tokenizer: Any, tower: dict[str, Any], where: str) -> Any:
    """What takes the place of a tokenizer; the tower is told the size of one that is yet to be trained."""
    name = tokenizer if isinstance(tokenizer, str) else tokenizer.get("name")
    if name == "bpe" and not (isinstance(tokenizer, Mapping) and tokenizer.get("path")):
        tower.setdefault("vocabulary", build(tokenizer, TOKENIZERS, where).wanted)
        return STAND_IN
    return STAND_IN if "vocabulary" in tower else tokenizer
