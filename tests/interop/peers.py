"""Small random models of every family as the PyTorch libraries make them, written to folders as those libraries do."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmjax.interop.processors import preprocessor_config
from tests.interop.torch_peers import import_open_clip, mend_torchvision

mend_torchvision()
import torch  # noqa: E402
import transformers  # noqa: E402

VOCABULARY, LENGTH, SIDE, PATCH, EOS = 120, 16, 32, 8, 119
TINY = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
VISION = dict(image_size=SIDE, patch_size=PATCH, **TINY)
TEXT = dict(vocab_size=VOCABULARY, max_position_embeddings=LENGTH, bos_token_id=118, eos_token_id=EOS, **TINY)
OPEN_CLIP = {
    "embed_dim": 24,
    "vision_cfg": dict(image_size=SIDE, patch_size=PATCH, layers=2, width=32, head_width=8, mlp_ratio=2.0),
    "text_cfg": dict(
        context_length=LENGTH,
        vocab_size=VOCABULARY,
        hf_tokenizer_name="the one beside it",
        width=32,
        heads=4,
        layers=2,
        mlp_ratio=2.0,
    ),
}

# Image and text towers of two widths; the second is what the decoder and the shared space have.
COCA = {
    "embed_dim": 32,
    "vision_cfg": dict(
        **dict(image_size=SIDE, patch_size=PATCH, layers=2, width=24, head_width=8, mlp_ratio=2.0, output_tokens=True),
        **dict(attentional_pool=True, attn_pooler_queries=5, attn_pooler_heads=2),
    ),
    "text_cfg": dict(OPEN_CLIP["text_cfg"], embed_cls=True, output_tokens=True),
    "multimodal_cfg": dict(context_length=LENGTH, vocab_size=VOCABULARY, width=32, heads=2, layers=2),
    "custom_text": True,
}
COCA_WITHOUT_POOLER = COCA | {
    "embed_dim": 24,
    "vision_cfg": OPEN_CLIP["vision_cfg"] | {"output_tokens": True},
    "quick_gelu": True,
}


@dataclasses.dataclass(frozen=True)
class Reads:
    """What a model is given.

    Attributes:
      side, patch: pixels on a side of pictures and of patches.
      grids: rows and columns of patches, where pictures have no one size; they lie in lists of `most`.
      length, eos: ids a row, and the one that ends a text; all others but the added ones are below it.
      added: ids above the one that ends a text, as of tokens that were added to a vocabulary.
      pad: the id behind a text; None for the one that ends it.
      table: pixels on a side that the checkpoint's position table is for, where pictures have another size.
    """

    side: int = SIDE
    patch: int = PATCH
    grids: tuple[tuple[int, int], ...] = ((3, 4), (4, 3), (2, 5), (1, 1))
    most: int = 12
    length: int = LENGTH
    eos: int = EOS
    added: int = 0
    pad: int | None = None
    table: int | None = None


@dataclasses.dataclass(frozen=True)
class Peer:
    """A family on the PyTorch side.

    Attributes:
      make: a model with random parameters.
      image, text: paths of the lists of blocks, or "".
      kind: of its preprocessing.
      config: of open_clip, which models do not carry.
      pooled: which output of a single tower is its vector.
      reads: what it is compared on.
    """

    make: Callable[[], Any]
    image: str = ""
    text: str = ""
    kind: str = "clip"
    config: Mapping[str, Any] | None = None
    pooled: Callable[[Any, np.ndarray], Any] | None = None
    reads: Reads = Reads()


def _clip(**text):
    config = transformers.CLIPConfig(projection_dim=24, vision_config=VISION, text_config={**TEXT, **text})
    return transformers.CLIPModel(config)


def _siglip(**vision):
    text = {**TEXT, "max_position_embeddings": 64}  # the pipeline of transformers pads to 64, whatever the model says
    config = transformers.SiglipConfig(vision_config={**VISION, **vision}, text_config=text)
    return transformers.SiglipModel(config)


def _naflex():
    vision = dict(num_patches=16, patch_size=PATCH, **TINY)
    return transformers.Siglip2Model(transformers.Siglip2Config(vision_config=vision, text_config=TEXT))


def _chinese_clip():
    config = transformers.ChineseCLIPConfig(projection_dim=24, vision_config=VISION, text_config=TEXT)
    return transformers.ChineseCLIPModel(config)


def _vit(**more):
    return transformers.ViTModel(transformers.ViTConfig(**VISION), **more)


def _dinov2(**more):
    return transformers.Dinov2Model(transformers.Dinov2Config(**VISION, **more))


def _registers():
    return transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**VISION))


def _bert(**more):
    return transformers.BertModel(transformers.BertConfig(**{**TEXT, "pad_token_id": 0}), **more)


def _roberta():
    return transformers.RobertaModel(transformers.RobertaConfig(**{**TEXT, "max_position_embeddings": LENGTH + 2}))


def _gpt2():
    return transformers.GPT2Model(
        transformers.GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=LENGTH,
            n_embd=32,
            n_layer=2,
            n_head=4,
            bos_token_id=EOS,
            eos_token_id=EOS,
        )
    )


def _open_clip(**more):
    return import_open_clip().CLIP(**OPEN_CLIP, **more)


def make_coca(config: Mapping[str, Any]) -> Any:
    """open_clip's model of a config."""
    model = import_open_clip().CoCa(**{key: value for key, value in config.items() if key != "custom_text"})
    torch.nn.init.normal_(model.text_decoder.text_projection, std=0.1)  # open_clip leaves it as it finds the memory
    return model


def _pooler(out: Any, mask: np.ndarray) -> Any:
    return out.pooler_output


def _first(out: Any, mask: np.ndarray) -> Any:
    return out.last_hidden_state[:, 0]


def _last(out: Any, mask: np.ndarray) -> Any:
    return out.last_hidden_state[torch.arange(len(mask)), torch.tensor(mask.sum(1) - 1)]


HF_DUAL = dict(image="vision_model.encoder.layers", text="text_model.encoder.layers")
OPEN = dict(image="visual.transformer.resblocks", text="transformer.resblocks", kind="open_clip")
COCA_BLOCKS = OPEN | {"text": "text.transformer.resblocks"}
PEERS = {
    "clip": Peer(_clip, **HF_DUAL),
    "clip legacy": Peer(lambda: _clip(eos_token_id=2), **HF_DUAL),
    "clip added tokens": Peer(lambda: _clip(eos_token_id=99), **HF_DUAL, reads=Reads(eos=99, added=20)),
    "siglip": Peer(_siglip, **HF_DUAL, kind="siglip"),
    "siglip margin": Peer(
        lambda: _siglip(image_size=30, patch_size=14), **HF_DUAL, kind="siglip", reads=Reads(side=30, patch=14)
    ),
    "siglip2_naflex": Peer(_naflex, **HF_DUAL, kind="siglip2"),
    "chinese_clip": Peer(
        _chinese_clip, image="vision_model.encoder.layers", text="text_model.encoder.layer", kind="chinese_clip"
    ),
    "vit": Peer(_vit, image="layers", kind="vit", pooled=_pooler),
    "vit without pooler": Peer(lambda: _vit(add_pooling_layer=False), image="layers", kind="vit", pooled=_first),
    "dinov2": Peer(_dinov2, image="encoder.layer", kind="dinov2", pooled=_pooler),
    "dinov2 swiglu": Peer(lambda: _dinov2(use_swiglu_ffn=True), image="encoder.layer", kind="dinov2", pooled=_pooler),
    "dinov2_registers": Peer(_registers, image="encoder.layer", kind="dinov2", pooled=_pooler),
    "bert": Peer(_bert, text="encoder.layer", pooled=_pooler),
    "bert without pooler": Peer(lambda: _bert(add_pooling_layer=False), text="encoder.layer", pooled=_first),
    "roberta": Peer(_roberta, text="encoder.layer", pooled=_pooler),
    "gpt2": Peer(_gpt2, text="h", pooled=_last),
    "open_clip": Peer(_open_clip, **OPEN, config=OPEN_CLIP),
    "open_clip quickgelu": Peer(lambda: _open_clip(quick_gelu=True), **OPEN, config=OPEN_CLIP | {"quick_gelu": True}),
    "open_clip bias": Peer(
        lambda: _open_clip(init_logit_bias=-10), **OPEN, config=OPEN_CLIP | {"init_logit_bias": -10}
    ),
    "coca": Peer(lambda: make_coca(COCA), **COCA_BLOCKS, config=COCA, reads=Reads(pad=0)),
}


def random_model(peer: Peer, seed: int = 0, spread: float = 1.0, noise: float = 0.05) -> Any:
    """The model with every parameter random: zero biases and unit norms would hide what is swapped or left out.

    Args:
      spread: factor on whatever the first block reads; 0.01 gives activations whose variance norms must not lose.
      noise: deviation of what is added to matrices; vectors, which start as zeros and ones, always get 0.05.
    """
    torch.manual_seed(seed)
    model = peer.make().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("logit_"):
                parameter.add_(0.1)
                continue
            parameter.add_((noise if parameter.ndim > 1 else 0.05) * torch.randn_like(parameter))
            if any(word in name for word in ("embed", "conv1", "cls_token", "class_token", "wte", "wpe", "register")):
                parameter.mul_(spread if parameter.ndim > 1 or "class" in name else 1.0)
    return model


def write(peer: Peer, model: Any, folder: pathlib.Path, state: Mapping[str, Any] | None = None) -> str:
    """Writes the model as its library does, with preprocessing and a tokenizer. Returns the source's name.

    Args:
      state: tensors to write in place of the model's own, under its own names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if peer.config is not None:
        from safetensors.torch import save_file

        config = {"model_cfg": dict(peer.config), "preprocess_cfg": {}}
        (folder / "open_clip_config.json").write_text(json.dumps(config))
        tensors = {key: value.detach().clone().contiguous() for key, value in (state or model.state_dict()).items()}
        save_file(tensors, folder / "open_clip_model.safetensors")
    else:
        model.save_pretrained(folder, **({} if state is None else {"state_dict": dict(state)}))
        if peer.image:
            patches = {"name": "patches", "patch": peer.reads.patch, "max_patches": peer.reads.most}
            section = patches if peer.kind == "siglip2" else {"name": "image", "size": peer.reads.side}
            config = preprocessor_config(peer.kind, section, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
            (folder / "preprocessor_config.json").write_text(json.dumps(config))
    if peer.text:
        write_tokenizer(folder, peer.reads.eos, peer.reads.pad)
    return ("open_clip:" if peer.config is not None else "hf:") + str(folder)


def write_tokenizer(folder: pathlib.Path, eos: int, pad: int | None = None) -> None:
    """A tokenizer of few words whose ids fit the small tables.

    Args:
      pad: a word's id that padding has; None for that of the end.
    """
    import tokenizers

    words, bos = min(100, eos - 19), eos - 1
    vocabulary = {f"w{i}": i for i in range(words)} | {"<unk>": words, "<bos>": bos, "<eos>": eos}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    frame = [("<bos>", bos), ("<eos>", eos)]
    backend.post_processor = tokenizers.processors.TemplateProcessing("<bos> $A <eos>", special_tokens=frame)
    padding = dict(pad_token="<eos>" if pad is None else f"w{pad}", padding_side="right")
    special = dict(bos_token="<bos>", eos_token="<eos>", unk_token="<unk>", **padding)
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)


def blocks(peer: Peer, model: Any, tower: str) -> list[Any]:
    """The blocks of a tower, in order."""
    place = model
    for name in getattr(peer, tower).split("."):
        place = getattr(place, name)
    return list(place)
