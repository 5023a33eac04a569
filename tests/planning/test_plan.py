"""`mmjax plan` as a user runs it: on the devices at hand, on GPUs that are not here, with a price, with a search."""

import json
import re

import jax
import pytest

from mmjax.cli import main
from mmjax.config import read, set_key
from mmjax.errors import UserError
from mmjax.planning import compiling
from mmjax.planning.draft import draft
from mmjax.planning.plan import make_plan
from mmjax.planning.search import meshes, search
from mmjax.planning.text import lines
from mmjax.planning.topology import parse_topology
from mmjax.training.experiment import parse

TOY = "tests/training/toy.py"


def config(**overrides):
    made = read(TOY)
    for key, text in overrides.items():
        set_key(made, key.replace("__", "."), text)
    return made


@pytest.fixture(scope="module")
def here():
    return make_plan(config(), parse_topology("here"), measured=True)


def test_the_devices_at_hand_are_compiled_for_and_measured(here):
    assert here.how == "compiled" and here.fits and here.mesh == {"data": 8, "fsdp": 1, "tensor": 1}
    assert here.estimate is None  # nobody publishes the peaks of this processor
    assert len(here.measured) == 6 and min(here.measured) <= here.measured[0] <= max(here.measured)
    assert {transfer.kind for transfer in here.counts.collectives} >= {"all-reduce"}


def test_its_operations_are_those_of_the_model(here):
    """Within what the compiler removes: products with constants, gradients that nobody reads."""
    assert here.counts.flops * 8 == pytest.approx(here.flops, rel=0.15)


def test_the_state_is_what_the_parameters_take(here):
    memory = here.memory
    assert memory.optimizer == pytest.approx(3 * memory.parameters, rel=0.01)  # two moments and the average
    assert memory.total >= memory.parameters + memory.optimizer + memory.temporaries
    assert memory.activations > 0


def test_fsdp_splits_the_state(here):
    plan = make_plan(config(mesh__data="1", mesh__fsdp="8"), parse_topology("here"))
    assert plan.memory.parameters < 0.5 * here.memory.parameters
    gathered = [sum(c.size for c in p.counts.collectives if c.kind == "all-gather") for p in (here, plan)]
    assert gathered[1] > 0.5 * here.memory.parameters > 2 * gathered[0]  # the parameters, beside a few features


@pytest.mark.parametrize(("topology", "nodes"), [("h100:8", 1), ("h100:4x2", 2)])
def test_gpus_that_are_not_here_are_counted_from_the_model(topology, nodes, here):
    plan = make_plan(config(), parse_topology(topology))
    assert plan.how == "analytic" and plan.fits and plan.topology.chips == 8
    assert plan.flops == here.flops
    assert plan.memory.parameters == here.memory.parameters and plan.memory.optimizer == here.memory.optimizer
    (transfer,) = plan.estimate.transfers
    size, chip = here.memory.parameters, plan.topology.chip
    links = 2 * size * (8 / nodes - 1) / (8 / nodes) / chip.link
    network = 2 * size / (8 / nodes) / 2 / chip.network if nodes > 1 else 0
    assert transfer.seconds == pytest.approx(links + network, rel=1e-6)


@pytest.mark.slow
def test_fsdp_across_nodes_gathers_over_the_network():
    plan = make_plan(config(mesh__data="1", mesh__fsdp="-1"), parse_topology("h100:4x2"))
    assert {transfer.kind for transfer in plan.estimate.transfers} == {"all-gather", "reduce-scatter"}
    within = make_plan(config(mesh__data="1", mesh__fsdp="-1"), parse_topology("h100:8"))
    assert plan.estimate.network > 2 * within.estimate.network


@pytest.mark.slow
def test_micro_batches_and_recomputation_are_counted():
    plain, accumulated = (
        make_plan(config(**o), parse_topology("h100:2")) for o in ({}, {"optimizer__accumulate": "2"})
    )
    assert accumulated.flops == pytest.approx(plain.flops, rel=0.02)
    assert accumulated.counts.flops > 1.2 * plain.counts.flops
    assert accumulated.memory.activations < 0.6 * plain.memory.activations


@pytest.mark.slow
def test_each_chip_reads_all_parameters_of_its_products():
    """Twice the chips with twice the batch do not halve what a chip reads of them."""
    one, four = (make_plan(config(batch_size=str(16 * n)), parse_topology(f"h100:{n}")) for n in (1, 4))
    assert four.counts.traffic == pytest.approx(one.counts.traffic, rel=0.02)
    fewer = [make_plan(config(batch_size=str(rows)), parse_topology("h100:4")).counts.traffic for rows in (12, 8, 4)]
    assert fewer[2] > four.counts.traffic / 16  # of one row each: what the parameters take does not shrink
    assert fewer[0] - fewer[1] == pytest.approx(fewer[1] - fewer[2], rel=0.05)


def test_frozen_parameters_cost_no_gradients_and_no_transfer():
    frozen = make_plan(config(optimizer__freeze="('^towers_image/',)"), parse_topology("h100:8"))
    whole = make_plan(config(), parse_topology("h100:8"))
    (small,), (large,) = frozen.estimate.transfers, whole.estimate.transfers
    assert small.size < 0.9 * large.size
    assert frozen.memory.parameters == whole.memory.parameters
    assert frozen.memory.total < whole.memory.total - (large.size - small.size)


@pytest.mark.slow
def test_what_travels_has_the_size_of_the_compute_dtype_and_passes_once_a_micro_batch():
    fsdp = {"mesh__data": "1", "mesh__fsdp": "-1"}
    half = {f"task__towers__{name}__dtype": "bfloat16" for name in ("image", "text")}
    whole, halved, twice = (
        {t.kind: t for t in make_plan(config(**fsdp, **o), parse_topology("h100:4")).estimate.transfers}
        for o in ({}, half, {"optimizer__accumulate": "2"})
    )
    assert whole["all-gather"].size == 2 * halved["all-gather"].size
    assert (whole["all-gather"].times, whole["reduce-scatter"].times) == (2, 1)
    assert (twice["all-gather"].times, twice["reduce-scatter"].times) == (
        6,
        2,
    )  # features first, then the loss: coupled


def test_float32_is_timed_at_the_peak_of_exact_units():
    half = {f"task__towers__{name}__dtype": "bfloat16" for name in ("image", "text")}
    plan, halved = (make_plan(config(**o), parse_topology("h100:1")) for o in ({}, half))
    assert plan.counts.unit_flops == pytest.approx(plan.counts.flops * 989 / 67, rel=1e-3)
    assert halved.counts.unit_flops < 2 * halved.counts.flops  # the loss stays in float32


def test_no_data_and_no_tokenizer_is_read():
    made = config()
    set_key(made, "data.train", "{'path': 'nowhere/shards-{000..999}.tar'}")
    set_key(made, "data.streams.caption.tokenizer", "{'name': 'bpe', 'size': 777}")
    blueprint = draft(made, parse(made), jax.sharding.AbstractMesh((1, 1, 1), ("data", "fsdp", "tensor")))
    assert blueprint.task.model.towers["text"].vocabulary == 777
    made.data.streams.question = {"name": "text", "tokenizer": {"name": "hf", "path": "nobody/nothing"}, "length": 8}
    set_key(made, "data.streams.caption.tokenizer", "{'name': 'hf', 'path': 'nobody/nothing'}")
    set_key(made, "task.towers.text.vocabulary", "888")
    blueprint = draft(made, parse(made), jax.sharding.AbstractMesh((1, 1, 1), ("data", "fsdp", "tensor")))
    assert blueprint.task.model.towers["text"].vocabulary == 888


def test_a_tensor_axis_needs_a_compiler():
    with pytest.raises(UserError, match="knows no tensor axis"):
        make_plan(config(mesh__tensor="2"), parse_topology("h100:8"))


def test_meshes_follow_the_topology():
    assert meshes(parse_topology("v5e:8x16")) == [1, 8, 16, 128]
    assert meshes(parse_topology("h100:8x4")) == [1, 8, 32]


@pytest.mark.slow  # test_docs.py runs a search each time
def test_a_search_ranks_what_fits():
    found = search(config(), parse_topology("h100:8"))
    assert len(found) == 6  # two meshes, three ways of recomputing, one batch each
    times = [one.plan.estimate.serial for one in found]
    assert times == sorted(times)
    assert {one.overrides["task.towers.image.remat"] for one in found} == {"none", "dots", "full"}


def test_a_search_minds_no_mesh_of_the_config(monkeypatch):
    monkeypatch.setattr("mmjax.planning.search.REMATS", ("none",))
    assert search(config(mesh__fsdp="16"), parse_topology("h100:8"))


def run(capsys, *arguments):
    code = main(["plan", "--config", TOY, *arguments])
    return code, *capsys.readouterr()


def test_the_verb_prints_what_one_wants_to_know(capsys):
    code, out, _ = run(capsys, "--topology", "h100:8", "--price", "2.5")
    assert code == 0
    assert re.search(r"^h100:8: 8 chips, data 8 x fsdp 1 x tensor 1, batch 16 \(analytic\)", out)
    for part in ("fits: ", "useful FLOPs", "all-reduce over data (8)", "binds", "if nothing overlaps", "MFU", "cost"):
        assert part in out


def test_the_verb_prints_json(capsys):
    code, out, _ = run(capsys, "--topology", "h100:8,here", "--json", "--price", "2")
    first, second = json.loads(out)
    assert code == 0 and (first["how"], second["how"]) == ("analytic", "compiled")
    serial = first["serial"]
    assert serial["days"] == pytest.approx(12 * serial["seconds"] / 86_400)
    assert serial["cost"] == pytest.approx(serial["days"] * 24 * 2 * 8)
    assert first["overlapped"]["mfu"] >= serial["mfu"]
    assert second["chip_flops"] > 0 and second["unknown_loops"] == []


@pytest.mark.parametrize(
    ("message", "temporaries", "everything"),
    [
        ("the total memory required for HLO temporaries (66.52G) exceeds available HBM (15.75G).", 66.52, None),
        (
            "Ran out of memory in memory space hbm. Used 20.00G of 15.75G hbm. Exceeded hbm capacity by 4.25G.",
            None,
            20.0,
        ),
        ("no memory", None, None),
    ],
)
def test_what_a_refusal_says(message, temporaries, everything):
    found = [compiling._asked(pattern, message) for pattern in (compiling.TEMPORARIES, compiling.EVERYTHING)]
    assert found == [None if gib is None else gib * 2**30 for gib in (temporaries, everything)]


def test_a_refused_program_still_says_what_it_would_do(monkeypatch, here):
    def refuse(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Used 20.00G of 15.75G hbm. Exceeded")

    monkeypatch.setattr(compiling, "compile_step", refuse)
    plan = make_plan(config(), parse_topology("here"))
    assert not plan.fits and plan.memory.total == pytest.approx(20 * 2**30)
    assert plan.flops == here.flops and any("useful FLOPs" in line for line in lines(plan))


def test_devices_without_peaks_show_their_transfers(here):
    assert re.search(r"all-reduce: \d+ x, [\d.,]+ MB", "\n".join(lines(here)))


def test_what_does_not_fit_is_exit_code_1(capsys):
    huge = [f"--config.task.towers.text.{key}" for key in ("width=65536", "depth=8", "heads=8", "vocabulary=100000")]
    code, out, _ = run(capsys, "--topology", "h100:2", *huge)
    assert code == 1 and "does NOT fit" in out and "too many" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--topology", "v5e:4x4", "--measure"), "it goes with --topology here alone"),
        (("--topology", "h100:8", "--config.batch_size=20"), "batch_size 20 does not divide by data x fsdp = 8"),
        (("--topology", "h100:8", "--config.mesh.data=3"), "mesh: data=3, fsdp=1, tensor=1 does not fit 8 devices"),
        (("--topology", "h100:8", "--config.mesh.fsdp=0"), "mesh: data=-1, fsdp=0, tensor=1 does not fit 8 devices"),
        (("--topology", "h100:0"), "write a chip and its shape"),
        (("--topology", "here", "--slices", "5"), "--slices 5: the devices at hand are as they are"),
        (("--topology", "here", "--measure", "--search"), "and no --search"),
        (
            ("--topology", "h100:8", "--search", "--config.optimizer.nmae=adamw"),
            "unknown config key config.optimizer.nmae",
        ),
        (("--topology", "q5:8"), "unknown chip 'q5'"),
        (("--topology", "h100:8", "--price", "-1"), "--price -1: a chip costs more than nothing"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    code, _, error = run(capsys, *arguments)
    assert code == 2 and message in error and error.count("\n") == 1
