"""Config → the objects of a run. All that can be wrong with a config is found here, before anything compiles."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from mmjax.bundle import blank_batch
from mmjax.config import build, choose, flatten, plain, schema_of, with_defaults
from mmjax.data.evaluation import EvalData
from mmjax.data.fingerprint import fingerprint
from mmjax.data.loader import Loader
from mmjax.data.sources import Source, open_source
from mmjax.data.streams import STREAMS, fit_tokenizers
from mmjax.distributed.agree import agree
from mmjax.distributed.hosts import meet
from mmjax.errors import UserError
from mmjax.evaluation.runner import make_evaluators
from mmjax.mesh import check_batch, make_mesh
from mmjax.models import DECODERS, ENCODERS
from mmjax.storage import Home
from mmjax.tasks import TASKS
from mmjax.tasks.base import Params
from mmjax.tasks.lora import Lora
from mmjax.training.experiment import Data, Experiment, parse
from mmjax.training.pretrained import Start, parse_starts
from mmjax.training.resume import jsonable
from mmjax.training.step import check_accumulation

TOWERS = {**ENCODERS, **DECODERS}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blueprint:
    """All that the program of a step follows from.

    Attributes:
      experiment: the parsed sections.
      mesh: the devices, which need not be here, or an abstract mesh, of which a step can be traced.
      streams: by name, what gives a batch its shapes.
      task: what trains.
    """

    experiment: Experiment
    mesh: Any
    streams: Mapping[str, Any]
    task: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(Blueprint):
    """What the loop works with.

    Attributes, beside those of `Blueprint`:
      folder: where everything but the checkpoints is written.
      home: where that belongs: the same folder, or one on an object store.
      config: the whole config as JSON, as the user gave it.
      task_section, stream_sections: as built, with what was derived filled in: what a bundle holds.
      loader, evaluators: the objects.
      exported: the task that is evaluated and saved; the same one, unless `task` wraps it in a LoRA.
      export: parameters of `task` as those of `exported`.
      starts: where the first parameters come from; empty if all are drawn.
      eval_data, test_data: sets to evaluate during training and at its end, or None.
    """

    folder: pathlib.Path
    home: Home
    config: Mapping[str, Any]
    task_section: Mapping[str, Any]
    stream_sections: Mapping[str, Any]
    exported: Any
    export: Callable[[Params], Params]
    starts: tuple[Start, ...]
    loader: Loader
    evaluators: Mapping[str, Any]
    eval_data: EvalData | None
    test_data: EvalData | None


def assemble(config: ConfigDict, folder: pathlib.Path | Home) -> Run:
    """Builds everything but the parameters.

    Raises:
      UserError: any mistake in the config, or a data file that is missing.
    """
    home = folder if isinstance(folder, Home) else Home(folder, folder)
    experiment = parse(config)
    agree("config", flatten(jsonable(config)))
    mesh = make_mesh(experiment.mesh)
    check_batch(experiment.batch_size, mesh)
    evaluators = make_evaluators(experiment.evaluate.on)
    sources, weights = open_sources(experiment.data.train)
    sections, streams = build_streams(tokenized(plain(experiment.data.streams), sources, home))
    task_section = complete(plain(experiment.task), streams)
    task, lora = build_task(experiment, task_section, streams)
    starts = parse_starts(experiment.init_from)
    check_accumulation(experiment.optimizer, experiment.batch_size, mesh.shape["data"] * mesh.shape["fsdp"])
    data, ways = experiment.data, mesh.shape["data"] * mesh.shape["fsdp"]
    rows = -(-(experiment.evaluate.batch_size or experiment.batch_size) // ways) * ways
    limit = experiment.evaluate.limit or None
    eval_source = data.eval if experiment.evaluate.every else None
    test_source = data.test if data.test is not None else data.eval
    run = Run(
        folder=home.folder,
        home=home,
        experiment=experiment if lora is None else freeze(experiment, lora.frozen),
        config=jsonable(config),
        task_section=task_section,
        stream_sections=sections,
        mesh=mesh,
        task=lora or task,
        exported=task,
        export=jax.jit(lora.merge) if lora else lambda params: params,
        starts=starts,
        streams=streams,
        loader=make_loader(experiment, data, sources, weights, streams),
        evaluators=evaluators,
        eval_data=eval_set(eval_source, "eval", streams, rows, limit, data.workers),
        test_data=eval_set(test_source, "test", streams, rows, None, data.workers),
    )
    agree_on_data(run)
    return run


def agree_on_data(run: Run) -> None:
    """Raises UserError, on all hosts, if one of them reads other data."""
    if jax.process_count() == 1:
        return
    plan = run.loader.plan
    sources = {f"train: {name}": source for name, source in zip(plan.names, plan.sources, strict=True)}
    held_out = {"eval": run.eval_data, "test": run.test_data}
    sources |= {name: data.source for name, data in held_out.items() if data is not None}
    agree("data", flatten({name: fingerprint(source) for name, source in sources.items()}))


def build_streams(sections: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sections with their defaults filled in, and the streams that they describe."""
    full = {name: with_defaults(section, STREAMS, f"config.data.streams.{name}") for name, section in sections.items()}
    return full, {name: build(section, STREAMS, f"config.data.streams.{name}") for name, section in full.items()}


def build_task(experiment: Experiment, section: Mapping[str, Any], streams: Mapping[str, Any]) -> tuple[Any, Any]:
    """The task, and the LoRA that wraps it if there is one."""
    task = build(section, TASKS, "config.task")
    check_towers(section, streams)
    check_writing(section, streams)
    return task, None if experiment.lora is None else build(experiment.lora, Lora, "config.lora", task=task)


def freeze(experiment: Experiment, pattern: str) -> Experiment:
    """The experiment with further parameters frozen."""
    optimizer = experiment.optimizer
    return dataclasses.replace(
        experiment, optimizer=dataclasses.replace(optimizer, freeze=(*optimizer.freeze, pattern))
    )


def open_sources(train: Any) -> tuple[list[Source], list[float]]:
    """One source, or a mixture with its weights."""
    if not isinstance(train, (list, tuple)):
        return [open_source(_plain_section(train), "config.data.train")], [1.0]
    sections = [dict(section) for section in train]
    weights = [float(section.pop("weight", 1.0)) for section in sections]
    return [open_source(plain(s), f"config.data.train[{i}]") for i, s in enumerate(sections)], weights


def tokenized(sections: Mapping[str, Any], sources: Sequence[Source], home: Home) -> dict[str, Any]:
    """Stream sections whose tokenizers exist: the first host trains those that do not, the others wait and read."""
    place = home.folder / "tokenizers"
    if jax.process_count() == 1:
        return fit_tokenizers(sections, sources, place)
    if jax.process_index() == 0:
        fit_tokenizers(sections, sources, place)
        home.push()
    meet("tokenizers")
    home.pull()
    return fit_tokenizers(sections, sources, place)


def make_loader(
    experiment: Experiment, data: Data, sources: Sequence[Source], weights: Sequence[float], streams: Mapping[str, Any]
) -> Loader:
    """The training loader of this host."""
    return Loader(
        sources,
        weights,
        streams,
        batch_size=experiment.batch_size,
        seed=experiment.seed,
        group=data.group,
        workers=data.workers,
        prefetch=data.prefetch,
    )


def eval_set(
    section: Any, key: str, streams: Mapping[str, Any], rows: int, limit: int | None, workers: int
) -> EvalData | None:
    """An evaluation set, or None where the config names none."""
    if section is None:
        return None
    return EvalData(open_source(_plain_section(section), f"config.data.{key}"), streams, rows, limit, workers)


def complete(task: Mapping[str, Any], streams: Mapping[str, Any]) -> dict[str, Any]:
    """Fills in what a tower takes from its streams: vocabulary, length, image size, where the config leaves it out."""
    if not isinstance(task.get("towers"), Mapping) or not isinstance(task.get("streams"), Mapping):
        return dict(task)
    towers = {name: dict(section) for name, section in task["towers"].items()}
    for tower in towers:
        read = [streams[stream] for stream, name in task["streams"].items() if name == tower and stream in streams]
        if read:
            where = f"config.task.towers.{tower}"
            module, given = choose(towers[tower], TOWERS, where)
            known, facts = schema_of(module), facts_of(read, module in DECODERS.values())
            taken = {key: value for key, value in facts.items() if key in known and key not in given}
            towers[tower] = with_defaults({**towers[tower], **taken}, TOWERS, where)
    return {**_counted(task, streams), "towers": towers}


def _counted(task: Mapping[str, Any], streams: Mapping[str, Any]) -> Mapping[str, Any]:
    """The task with the number of answers that it chooses among, where it is one that does."""
    found = [stream.facts()["answers"] for stream in streams.values() if "answers" in stream.facts()]
    return {"answers": found[0], **task} if found and task.get("name") == "choose" else task


def facts_of(streams: Sequence[Any], behind: bool) -> dict[str, Any]:
    """What a tower must agree with, of all streams that it reads: the longest row.

    Args:
      behind: it reads them one behind the other in one row, whose length is then their sum.
    """
    facts = [stream.facts() for stream in streams]
    lengths = [one["length"] for one in facts if "length" in one]
    return {**facts[0], **({"length": sum(lengths) if behind else max(lengths)} if lengths else {})}


def check_writing(task: Mapping[str, Any], streams: Mapping[str, Any]) -> None:
    """Refuses texts that a decoder could not learn to begin or to end, or whose ids mean different things.

    Raises:
      UserError: streams of one decoder with different tokenizers; ids of begin and end that are not the tokenizer's; a
        text to be written that has no end.
    """
    for tower, section in (task.get("towers") or {}).items():
        names = [name for name, read in task["streams"].items() if read == tower]
        if section.get("name") not in DECODERS or not names:
            continue
        first, *others = (streams[name] for name in names)
        for name, other in zip(names[1:], others, strict=True):
            if (other.tokenizer, other.lowercase) != (first.tokenizer, first.lowercase):
                raise UserError(
                    f"config.data.streams.{name}: its tokenizer is another than that of {names[0]!r}, and the tower "
                    f"{tower!r} reads both; give them the same section"
                )
        facts = first.facts()
        for key in ("begin", "eos"):
            if section.get(key) != facts[key]:
                raise UserError(
                    f"config.task.towers.{tower}.{key} is {section.get(key)}, but the tokenizer of "
                    f"config.data.streams.{names[0]} has {facts[key]}; leave it out"
                )
        ids, mask = first.loaded().encode("a", 8)
        if task.get("name") != "choose" and int(ids[mask][-1]) != facts["eos"]:
            raise UserError(
                f"config.data.streams.{names[0]}.tokenizer ends no text, so none could be learnt to end; set frame to "
                "'both'"
            )


def check_towers(task: Mapping[str, Any], streams: Mapping[str, Any]) -> None:
    """Refuses a text longer than the tower's positions and a tokenizer larger than its table.

    Raises:
      UserError: either of them, or a stream that the task reads and the data does not give.
    """
    for stream, tower in (task.get("streams") or {}).items():
        if stream not in streams:
            raise UserError(f"config.task.streams.{stream}: config.data.streams has no {stream!r}; add it there")
        section = task["towers"][tower]
        for key, what in (("length", "tokens"), ("vocabulary", "token ids")):
            have, need = section.get(key), streams[stream].facts().get(key)
            if have is not None and need is not None and need > have:
                raise UserError(
                    f"config.task.towers.{tower}.{key} is {have}, but config.data.streams.{stream} gives {need} "
                    f"{what}; "
                    f"raise {key} to {need}, or shorten the stream"
                )


def abstract_batch(run: Blueprint) -> Any:
    """A blank batch of the fewest rows that divide over the mesh: shapes for initialising."""
    return blank_batch(run.streams, run.mesh.shape["data"] * run.mesh.shape["fsdp"])


def _plain_section(section: Any) -> Any:
    return plain(section) if not isinstance(section, str) else section
