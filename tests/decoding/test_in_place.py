"""The cache is held once and changed where it lies, and no step is computed whose logits nobody reads."""

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from mmjax.decoding import Decoding, Prompt, decode
from mmjax.decoding.loop import Choice
from mmjax.decoding.streaming import _advance
from mmjax.models.cache import Cache
from mmjax.models.decoder import Decoder

ROWS, FIRST, NEW = 2, 4, 1000
DECODER = Decoder(vocabulary=24, length=FIRST + NEW, width=32, depth=2, heads=2, mlp_dim=32, cross=True)
IDS = jnp.ones((ROWS, FIRST), jnp.int32)
CONTEXT = jnp.ones((ROWS, 500, 16))
PARAMS = jax.eval_shape(lambda key: DECODER.init(key, IDS, context=CONTEXT), jax.random.key(0))
KEY = jax.random.key(0)
ARRAY = ROWS * 32 * 4  # bytes of one slot of one block's keys, all rows


def stacked(step):
    """The mutant: keys and values of all blocks in one array, which each step makes anew."""

    def wrong(ids, cache):
        blocks = tuple(jax.tree.map(lambda a, i=i: a[i], cache.blocks) for i in range(DECODER.depth))
        logits, cache = step(ids, cache.replace(blocks=blocks))
        return logits, cache.replace(blocks=jax.tree.map(lambda *a: jnp.stack(a), *cache.blocks))

    return wrong


def moved(cache, index):
    """The mutant: keys and values change places with their beams."""
    cache = cache.take(index)
    turned = lambda a: jnp.take(a, index[:, 0], axis=0)  # noqa: E731
    return cache.replace(blocks=jax.tree.map(turned, cache.blocks), context=jax.tree.map(turned, cache.context))


def prompt(params, ids, context):
    mask = jnp.ones(ids.shape, bool)
    logits, cache = DECODER.apply(params, ids, mask, FIRST + NEW, context=context, method="prefill")
    return Prompt(logits, cache, ids, mask)


def one_step(params, ids, cache):
    return DECODER.apply(params, ids, cache, method="step")


def compiled(beams=1, mutant=None):
    options = Decoding(length=NEW, beams=beams)

    def run(params, ids, context):
        given, step, take = prompt(params, ids, context), partial(one_step, params), Cache.take
        if mutant is stacked:
            blocks = jax.tree.map(lambda *a: jnp.stack(a), *given.cache.blocks)
            step, given = stacked(step), given.replace(cache=given.cache.replace(blocks=blocks))
        return decode(step, moved if mutant is moved else take, given, options, (3,), 0, KEY)

    return jax.jit(run).lower(PARAMS, IDS, CONTEXT).compile()


@pytest.mark.parametrize(("beams", "mutant"), [(1, stacked), (2, moved)], ids=["greedy", "beams"])
def test_a_loop_holds_the_cache_once(beams, mutant):
    cache = 2 * DECODER.depth * ARRAY * (FIRST + beams * NEW + CONTEXT.shape[1])
    right, wrong = (compiled(beams, m).memory_analysis().temp_size_in_bytes for m in (None, mutant))
    assert right < 1.25 * cache
    assert wrong > 1.5 * cache


def test_a_loop_writes_keys_by_updates_alone():
    assert whole_arrays(compiled()) == {"update"}
    assert whole_arrays(compiled(mutant=stacked)) > {"update"}


def whole_arrays(program):
    """What the loop's body writes that is as large as the keys of a block."""
    found = set()
    for line in program.as_text().splitlines():
        made = re.match(r" *(?:ROOT )?%(\S+) = f32\[([\d,]+)\]", line)
        if made and "while/body" in line and math.prod(map(int, made[2].split(","))) >= ARRAY // 4 * (FIRST + NEW):
            found.add("update" if re.search("dynamic.update.slice", made[1]) else made[1])
    return found


@pytest.mark.parametrize("beams", [1, 2])
def test_no_step_behind_the_last_token(beams):
    """The first token comes from the prompt's logits, and what follows the last one is nobody's business."""
    turns = []

    def step(ids, cache):
        jax.debug.callback(turns.append, cache)
        return jax.nn.one_hot(ids + 1, 24), cache + 1

    given = Prompt(jnp.ones((ROWS, 24)), jnp.int32(0), IDS, IDS > 0)
    options = Decoding(length=5, beams=beams)
    jax.jit(lambda: decode(step, lambda cache, index: cache, given, options, (), 0, KEY))()
    jax.effects_barrier()
    assert sorted(map(int, turns)) == [0, 1, 2, 3]


def test_a_step_of_a_stream_holds_the_cache_once():
    given = jax.eval_shape(prompt, PARAMS, IDS, CONTEXT)
    choice = Choice(KEY, None, Decoding(length=NEW), (3,), 0)
    state = jax.eval_shape(choice.first, given)
    step = jax.tree_util.Partial(one_step, PARAMS)
    memory = _advance.lower(choice, step, state).compile().memory_analysis()
    cache = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(given.cache))
    assert memory.alias_size_in_bytes > cache
    assert memory.temp_size_in_bytes < cache / 10
