"""BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019) of transformers, as text towers."""

from collections.abc import Collection

from mmjax.interop.families.parts import blocks, size_keys
from mmjax.interop.family import Config, Family, Flat, Key, Tensor, embedding, linear, model_type, norm

POSITIONS_BEFORE = 2  # RoBERTa counts from behind its padding id


def text_table(theirs: str) -> tuple[Tensor, ...]:
    """Embeddings and post-norm blocks, below a prefix; Chinese-CLIP has the same under `text_model.`."""
    block, ours = f"{theirs}encoder.layer.{{i}}", blocks("text")
    return (
        *embedding(f"{theirs}embeddings.word_embeddings", "towers_text/embedding/embedding"),
        *embedding(f"{theirs}embeddings.position_embeddings", "towers_text/position_table"),
        *embedding(f"{theirs}embeddings.token_type_embeddings", "towers_text/type_table"),
        *norm(f"{theirs}embeddings.LayerNorm", "towers_text/norm_before"),
        *(
            tensor
            for name in ("query", "key", "value")
            for tensor in linear(f"{block}.attention.self.{name}", f"{ours}/attention/{name}")
        ),
        *linear(f"{block}.attention.output.dense", f"{ours}/attention/out"),
        *norm(f"{block}.attention.output.LayerNorm", f"{ours}/norm_attention"),
        *linear(f"{block}.intermediate.dense", f"{ours}/mlp/up"),
        *linear(f"{block}.output.dense", f"{ours}/mlp/down"),
        *norm(f"{block}.output.LayerNorm", f"{ours}/norm_mlp"),
    )


TEXT_FIXED = {
    "towers.text.name": "text",
    "towers.text.norm_first": False,
    "towers.text.pre_norm": True,
    "towers.text.final_norm": False,
    "towers.text.pooling": "first",
}


def text_keys(theirs: str) -> tuple[Key, ...]:
    """The config of a text tower of this kind, below a prefix."""
    return (
        *size_keys(theirs, "towers.text"),
        Key(f"{theirs}vocab_size", "towers.text.vocabulary"),
        Key(f"{theirs}type_vocab_size", "towers.text.types"),
    )


def _table(task: Config) -> tuple[Tensor, ...]:
    head = linear("pooler.dense", "towers_text/head") if task["towers"]["text"]["head"] == "tanh" else ()
    return (*text_table(""), *head)


def head_of(tower: str):
    """Whether the pooled vector goes through a head, no config tells: the checkpoint has it or not."""

    def adapt(config: Config, names: Collection[str]) -> Flat:
        del config
        return {
            f"towers.{tower}.head": "tanh" if any(name.endswith("pooler.dense.weight") for name in names) else "none"
        }

    def optional(flat: Flat) -> Collection[str]:
        return ("pooler.dense.weight",) if flat.get(f"towers.{tower}.head") == "tanh" else ()

    return adapt, optional


_ADAPT, _OPTIONAL = head_of("text")
ENCODE_TEXT = {"name": "encode", "streams.caption": "text", **TEXT_FIXED}
REQUIRED = {"is_decoder": False, "add_cross_attention": False}

BERT = Family(
    name="BERT",
    library="hf",
    accepts=model_type("bert"),
    head={"model_type": "bert"},
    architecture="BertModel",
    keys=(*text_keys(""), Key("max_position_embeddings", "towers.text.length")),
    fixed=ENCODE_TEXT,
    required=REQUIRED,
    table=_table,
    adapt=_ADAPT,
    optional=_OPTIONAL,
    prefixes=("", "bert."),
    ignore=(r"embeddings\.position_ids$",),
    processor="text",
)


def _roberta(config: Config, names: Collection[str]) -> Flat:
    length = config["max_position_embeddings"] - POSITIONS_BEFORE
    return _ADAPT(config, names) | {"towers.text.length": length}


ROBERTA = Family(
    name="RoBERTa",
    library="hf",
    accepts=model_type("roberta"),
    head={"model_type": "roberta"},
    architecture="RobertaModel",
    keys=text_keys(""),
    fixed={**ENCODE_TEXT, "towers.text.position_offset": POSITIONS_BEFORE},
    required={**REQUIRED, "pad_token_id": 1},
    table=_table,
    adapt=_roberta,
    restore=lambda flat: {"max_position_embeddings": flat["towers.text.length"] + POSITIONS_BEFORE},
    optional=_OPTIONAL,
    prefixes=("", "roberta."),
    ignore=(r"embeddings\.position_ids$",),
    processor="text",
)
