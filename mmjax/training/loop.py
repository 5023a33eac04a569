"""The one training loop. It knows no task by name: it composes encode and loss, and asks evaluators at set steps."""

import collections
import contextlib
import dataclasses
import itertools
import json
import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from mmjax import progress
from mmjax.bundle import Model, save
from mmjax.data.evaluation import EvalData
from mmjax.data.loader import SkipLedger
from mmjax.distributed.hosts import meet
from mmjax.errors import RunError
from mmjax.evaluation.runner import evaluate, notes
from mmjax.training import resume
from mmjax.training.assemble import Run, abstract_batch
from mmjax.training.checkpoint import Checkpoints, versions
from mmjax.training.clock import Clock
from mmjax.training.feed import Fed, feed
from mmjax.training.metrics import Writer, import_board, read
from mmjax.training.pretrained import load_starts, reads_of
from mmjax.training.profile import Profiler
from mmjax.training.program import Program, compile_step, computing
from mmjax.training.state import TrainState, abstract_state, create_state, initializer
from mmjax.training.stop import EXIT_INTERRUPTED, StopRequest
from mmjax.training.tree import path_name

log = logging.getLogger(__name__)
IN_FLIGHT = 2  # steps dispatched before the oldest one's numbers are read


class Trainer:
    """One run from where its folder stands to its last step."""

    def __init__(self, run: Run, *, force: bool = False):
        self.run, self.clock = run, Clock()
        experiment = run.experiment
        self.checkpoints = Checkpoints(run.home, experiment.checkpoint)
        self.start = self.checkpoints.latest() or 0
        if self.start and not force:
            resume.check(run.home, run.config)
        with jax.set_mesh(run.mesh), self.clock.part("compile"):
            self.key = jax.device_put(jax.random.key(experiment.seed), jax.NamedSharding(run.mesh, jax.P()))
            self.state, self.program = self._prepare()
        self.clock.go_on(read(run.folder / "timing.jsonl"), self.start)
        # Only a config that a step could be compiled of is the run's; a refused one leaves no trace.
        write_json(run.folder / "config.json", run.config)
        self.writer = Writer(run.folder, self.start, experiment.log, run.config)
        self.profiler = Profiler(run.folder, experiment.log.profile)
        self.ledger = SkipLedger(run.folder / "skipped.jsonl", experiment.data.max_skip_rate, run.loader.items)
        self.pending: collections.deque[tuple[Fed, dict[str, jax.Array]]] = collections.deque()
        self.scores: dict[str, float | int] = {}  # of an evaluation at this very step: what the best is chosen by

    def _prepare(self) -> tuple[TrainState, Program | None]:
        """The state, read or made, while a second thread compiles the step; no step where none is left to do."""
        run = self.run
        init = initializer(run.task, run.experiment.optimizer, abstract_batch(run))
        with ThreadPoolExecutor(1) as thread:
            shapes = abstract_state(init, run.mesh)  # a config that makes no state is refused here, in no time
            reads, freeze = reads_of(run.task_section), run.experiment.optimizer.freeze
            given = {} if self.start else load_starts(run.starts, shapes.params, run.export, run.streams, reads, freeze)
            left = self.start < run.experiment.steps
            program = thread.submit(compile_step, run, shapes, self.key) if left else None
            if self.start:
                state = self.checkpoints.restore(self.start, shapes)
                self._warn_of_versions()
            else:
                state = create_state(init, shapes, run.experiment.seed, given)
            if run.experiment.log.tensorboard:
                import_board()  # while the other thread compiles
            compiled = program.result() if program else None
        meet("compiled")
        return state, compiled

    def _warn_of_versions(self) -> None:
        """Other libraries may round otherwise: a resume is exact under the same ones."""
        now, then = versions(), self.checkpoints.libraries(self.start)
        changes = [f"{name} {then.get(name)} → {version}" for name, version in now.items() if then.get(name) != version]
        if changes:
            log.warning("resuming under other libraries than the checkpoint's: %s", ", ".join(changes))

    def train(self) -> int:
        """Trains to the end, or to a stop request. Returns the exit code of the process."""
        with StopRequest() as stop, self._opened() as advance:
            interrupted = self._steps(stop, advance)
        if interrupted:
            log.warning("stopped at step %d and saved; start the same command again", int(self.state.step))
            return EXIT_INTERRUPTED
        return 0

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        """Everything that must be closed whatever happens."""
        with (
            contextlib.closing(self.writer),
            contextlib.closing(self.checkpoints),
            contextlib.closing(self.profiler),
            computing(self.run),
            progress.bar("training", self.run.experiment.steps, done=self.start) as advance,
        ):
            yield advance

    def _steps(self, stop: StopRequest, advance: Any) -> bool:
        """Runs the remaining steps. Returns whether it was interrupted."""
        run, experiment = self.run, self.run.experiment
        if self.program is None:
            return False
        host, hosts = jax.process_index(), jax.process_count()
        self.clock.resume_at(self.start)
        with run.loader.batches(self.start, host, hosts) as batches:
            left = itertools.islice(batches, experiment.steps - self.start)
            for fed in feed(left, run.mesh, self.ledger, self.clock):
                self.profiler.at(fed.step, self.state)
                with self.clock.part("step"), jax.transfer_guard("disallow"):
                    self.state, metrics = self.program.step(self.state, fed.batch, self.key)
                self.pending.append((fed, metrics))
                self._read(IN_FLIGHT, advance)
                done = fed.step + 1
                if self._after(done, advance, stop):
                    break
        self._read(0, advance)
        return done < experiment.steps

    def _after(self, done: int, advance: Any, stop: StopRequest) -> bool:
        """Evaluates and saves where it is time to. Returns whether to leave the loop."""
        experiment = self.run.experiment
        last = done >= experiment.steps
        every = experiment.evaluate.every
        self.scores = {}
        if every and done % every == 0:
            self._read(0, advance)
            self._evaluate(done)
        leave = bool(stop) or self.checkpoints.preempted(done)
        if last or leave or self.checkpoints.due(done):
            self._read(0, advance)  # what the checkpoint covers is in metrics.jsonl before it exists
            with self.clock.part("save"):
                self.run.home.push()
                self.checkpoints.save(done, self.state, self.run.config, self.scores)
        else:
            self.checkpoints.check()
        return last or leave

    def _read(self, leave: int, advance: Any) -> None:
        """Reads the numbers of dispatched steps, all but the last `leave`; waiting for them is computing."""
        while len(self.pending) > leave:
            fed, device_metrics = self.pending.popleft()
            with self.clock.part("step"):
                metrics = {name: float(x) for name, x in jax.device_get(device_metrics).items()}
            self._note(fed, metrics)
            advance(1, loss=metrics["loss"], **self._rate(fed.step + 1, metrics))

    def _note(self, fed: Fed, metrics: Mapping[str, float]) -> None:
        """Writes a step's line when it is due, and deals with a step that was not finite."""
        done, experiment = fed.step + 1, self.run.experiment
        if metrics["bad"]:
            self._bad_step(fed, metrics)
        if done % experiment.log.every == 0 or done == experiment.steps or metrics["bad"]:
            self.writer.learnt(done, {f"train/{name}": value for name, value in metrics.items() if name != "bad"})

    def _rate(self, done: int, metrics: Mapping[str, float]) -> dict[str, float]:
        """Writes timing.jsonl when it is due; returns what the progress bar shows."""
        if done % self.run.experiment.log.every and done != self.run.experiment.steps:
            return {}
        assert self.program is not None
        if jax.process_count() > 1:  # a host that stopped alone would leave the others waiting
            self.ledger.judge(sum_over_hosts)
        timing = self.clock.interval(done, self.run.experiment.batch_size, self.program.flops)
        skipped = {"skipped": float(self.ledger.count), **self.clock.goodput()}
        self.writer.timed(done, timing | skipped)
        return {"examples_per_second": timing["examples_per_second"]}

    def _bad_step(self, fed: Fed, metrics: Mapping[str, float]) -> None:
        """Names the rows of a non-finite step; stops after too many in a row, with the batch saved.

        Raises:
          RunError: `max_bad_steps` steps in a row were not finite.
        """
        rows = np.asarray(fed.host.index).tolist()
        self.writer.bad(fed.step + 1, {"loss": str(metrics["loss"]), "source": fed.source, "index": rows})
        log.warning("step %d is not finite: update skipped, rows in bad_steps_*.jsonl", fed.step + 1)
        if metrics["bad"] < self.run.experiment.max_bad_steps:
            return
        path = self.run.folder / f"bad_batch_{fed.step + 1}_{jax.process_index()}.npz"
        leaves: dict[str, Any] = {path_name(key): leaf for key, leaf in jax.tree_util.tree_leaves_with_path(fed.host)}
        np.savez(path, **leaves)
        raise RunError(
            f"{int(metrics['bad'])} steps in a row gave a non-finite loss or gradient, the last is {fed.step + 1}; "
            f"its batch is in {path}; lower the learning rate, or look at the data"
        )

    def _evaluate(self, done: int) -> None:
        """Scores during training, into metrics.jsonl."""
        assert self.run.eval_data is not None
        self.scores = self._score(self.run.eval_data, "eval")
        self.writer.learnt(done, {f"eval/{name}": value for name, value in self.scores.items()})

    def _score(self, data: EvalData, key: str) -> dict[str, float | int]:
        """The scores of the state as it stands; what could not be read is listed, as no part of the training data."""
        run = self.run
        with self.clock.part("evaluate"):
            params = run.export(self.state.best_params)
            scores = evaluate(run.exported, params, data, run.evaluators, run.mesh)
        bad = [dataclasses.replace(skip, source=f"data.{key}: {skip.source}") for skip in data.skipped]
        self.ledger.note(bad, jax.process_index())
        return scores

    def finish(self) -> dict[str, float | int]:
        """Bundle, final evaluation and what it was made with, environment.json."""
        run, scores, told = self.run, {}, {}
        save(run.folder / "bundle", self.model())
        if run.test_data is not None and run.evaluators:
            with computing(run):
                scores = self._score(run.test_data, "test")
            told = notes(run.evaluators, run.test_data)
        write_json(run.folder / "evaluation.json", scores)
        write_json(run.folder / "evaluation_notes.json", told)
        write_json(run.folder / "environment.json", environment(run) | self.clock.goodput())
        return scores

    def model(self) -> Model:
        """The model as it stands: the average where one is kept."""
        run = self.run
        sections = {"task": run.task_section, "streams": run.stream_sections}
        config = {**sections, "config": run.config, "libraries": versions()}
        return Model(run.exported, run.export(self.state.best_params), run.streams, config)


def sum_over_hosts(counts: np.ndarray) -> np.ndarray:
    """The sum of integers that each host counted; all of them ask for it at the same step."""
    gathered = np.asarray(multihost_utils.process_allgather(counts))
    return gathered.reshape(-1, *counts.shape).sum(axis=0)


def environment(run: Run) -> dict[str, Any]:
    """What the numbers depend on beside the config."""
    device = jax.devices()[0]
    return {
        "devices": f"{jax.device_count()} x {device.device_kind}",
        "hosts": jax.process_count(),
        "cores": os.cpu_count(),
        "mesh": dict(run.mesh.shape),
        **versions(),
    }


def write_json(path: Any, value: Mapping[str, Any]) -> None:
    """Writes atomically, from the first process alone."""
    if jax.process_index() == 0:
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps(value, indent=2) + "\n")
        os.replace(draft, path)
