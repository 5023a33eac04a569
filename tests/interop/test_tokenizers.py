"""Ids of every family's reference tokenizer, called as its processor calls it, on nasty strings."""

import builtins
import importlib.util
import json
import pathlib
import pickle

import numpy as np
import pytest

from mmjax.config import build
from mmjax.data.streams import STREAMS
from mmjax.data.tokenizers import HuggingFace, load_tokenizer
from mmjax.errors import BadItem, UserError
from mmjax.interop.processors import KINDS, preprocessor_config
from mmjax.interop.tokenizers import (
    check_padding,
    open_clip_text_cfg,
    open_clip_text_section,
    text_differences,
    text_section,
    write_clip_tokenizer,
)
from tests.interop.torch_peers import import_open_clip, mend_torchvision
from tests.interop.toy_tokenizers import MAKERS, siglip2

NASTY = [
    *json.loads((pathlib.Path(__file__).parents[1] / "data/golden_tokens.json").read_text("utf-8")),
    "a photo of a cat",
    "a photo, of a CAT!",
    "<|startoftext|>cat<|endoftext|> dog",
    "<start_of_text>cat<end_of_text>",
    "cat</s> dog <s>",
    "[CLS] cat [SEP] [PAD] [UNK]",
    "<pad>cat<bos> <unk>",
    "Tom &amp; Jerry &lt;3 &#39;quoted&#39; &amp;lt;",
    "schÃ¶n, mojibake â€™",
    "snake_case_name",
    "control\x01\x07\x1b[31m characters",
    "right \u202eto left\u202c",
    "z\u0351\u0354a\u0322\u0337l\u0337g\u0321o",
    "''' 's 't 'RE 've 'M 'll 'd",
    "İI ıi ẞß ſ",
    "\ufeffbyte order mark",
    "①Ⅳ½²",
    "a dog " * 300,
    "两只狗" * 200,
]
LENGTHS = dict(clip=77, siglip=64, siglip2=64, chinese_clip=52, bert=512, roberta=512, gpt2=40)
PAD_READ = ("siglip", "siglip2")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Folders(dict):
    """{family: folder}, each made when it is first asked for, so that what is not installed skips its own tests."""

    def __init__(self, root):
        self.root = root

    def __missing__(self, family):
        if family == "siglip":
            pytest.importorskip("sentencepiece", reason="SigLIP's tokenizer needs sentencepiece, in transformers, too")
        if family == "clip":
            import_open_clip()
        self[family] = folder = self.root / family
        folder.mkdir()
        MAKERS[family](folder)
        if family in KINDS:
            section = {"name": "patches" if family == "siglip2" else "image"}
            config = preprocessor_config(family, section, (0.5,) * 3, (0.5,) * 3)
            (folder / "preprocessor_config.json").write_text(json.dumps(config))
        return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return Folders(tmp_path_factory.mktemp("tokenizers"))


def reference(family, folder):
    """What the family's own processor, or for text alone its tokenizer, makes of one text."""
    mend_torchvision()
    import transformers

    names = dict(
        clip="CLIPProcessor", siglip="SiglipProcessor", siglip2="Siglip2Processor", chinese_clip="ChineseCLIPProcessor"
    )
    whole = dict(padding="max_length", truncation=True, max_length=LENGTHS[family])
    if family not in names:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        options = dict(truncation=True, max_length=whole["max_length"]) if family == "gpt2" else whole
        return lambda text: tokenizer(text, **options)
    processor = getattr(transformers, names[family]).from_pretrained(folder, backend="pil")
    options = {} if family == "siglip2" else whole  # its own default

    def call(text):
        return {key: value[0] for key, value in processor(text=[text], **options).items()}

    return call


def stream_of(family, folder, **changes):
    config = json.loads((folder / "tokenizer_config.json").read_text())
    check_padding(str(folder), config, family in PAD_READ)
    section = text_section(str(folder), LENGTHS[family])
    section["tokenizer"] |= {key: changes.pop(key) for key in ("pad", "clean", "frame") if key in changes}
    return build(section | changes, STREAMS, "data.streams.caption")


def ids_of(stream, text):
    return stream.loaded().encode(text.lower() if stream.lowercase else text, stream.length)


def wrong_ids(stream, call):
    """The strings whose ids are not the reference's, padding included where the reference pads."""
    out = []
    for text in NASTY:
        ids, mask = ids_of(stream, text)
        theirs = call(text)
        expected = np.asarray(theirs["input_ids"])
        same = np.array_equal(ids[: len(expected)], expected) and not mask[len(expected) :].any()
        if "attention_mask" in theirs:
            same &= np.array_equal(mask[: len(expected)], np.asarray(theirs["attention_mask"], bool))
        if not same:
            out.append(text)
    return out


def test_there_are_more_than_fifty_nasty_strings():
    assert len(set(NASTY)) == len(NASTY) > 70


@pytest.mark.parametrize("family", MAKERS)
def test_ids_are_the_references(folders, family):
    assert wrong_ids(stream_of(family, folders[family]), reference(family, folders[family])) == []


@pytest.mark.parametrize("family", MAKERS)
def test_a_saved_tokenizer_goes_out_and_reads_alike(folders, family, tmp_path):
    from transformers import AutoTokenizer

    stream = stream_of(family, folders[family])
    section = stream.loaded().save(tmp_path)
    again = load_tokenizer(section | {"path": str(tmp_path / section["path"])})
    theirs, original = (AutoTokenizer.from_pretrained(folder) for folder in (tmp_path, folders[family]))
    assert type(theirs) is type(original)
    for text in NASTY:
        np.testing.assert_array_equal(again.encode(text, 30)[0], stream.loaded().encode(text, 30)[0])
        assert theirs(text)["input_ids"] == original(text)["input_ids"]


MUTANTS = {
    "another padding": ("clip", dict(pad=0)),
    "cleaned as open_clip does": ("clip", dict(clean="lower")),
    "cut shorter": ("bert", dict(length=511)),
    "SigLIP's padding by 0": ("siglip", dict(pad=0)),
    "cut longer": ("siglip2", dict(length=65)),
    "lower case for RoBERTa": ("roberta", dict(lowercase=True)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_reference_rejects_wrong_rules(folders, mutant):
    family, changes = MUTANTS[mutant]
    wrong = wrong_ids(stream_of(family, folders[family], **changes), reference(family, folders[family]))
    assert wrong


def test_the_reference_rejects_a_siglip_2_that_keeps_capitals(folders, tmp_path):
    siglip2(tmp_path, tokenizer_class="GemmaTokenizer")
    wrong = wrong_ids(stream_of("siglip2", tmp_path), reference("siglip2", folders["siglip2"]))
    assert "THE DOG" in wrong and "the dog" not in wrong
    lowered = wrong_ids(stream_of("siglip2", tmp_path, lowercase=True), reference("siglip2", folders["siglip2"]))
    # Python and the library lower a few letters differently; SigLIP 2's own class takes the library.
    assert set(lowered) <= {"İstanbul", "İI ıi ẞß ſ"}


@pytest.mark.parametrize("family", ["clip", "siglip", "siglip2", "chinese_clip", "roberta"])
def test_an_end_token_stays_when_a_text_is_cut(folders, family):
    stream = stream_of(family, folders[family])
    ids, mask = ids_of(stream, "a dog " * 300)
    assert mask.all() and ids[-1] == stream.facts()["eos"]


def test_a_row_that_is_to_be_written_is_framed(folders):
    """GPT-2's tokenizer puts nothing around a text; a frame puts its one special token there, and cuts still end."""
    plain, framed = (stream_of("gpt2", folders["gpt2"], frame=frame) for frame in (None, "both"))
    (ids, mask), (own, own_mask) = ids_of(plain, "a cat"), ids_of(framed, "a cat")
    end = framed.facts()["eos"]
    assert own[own_mask].tolist() == [end, *ids[mask].tolist(), end]
    assert framed.facts()["begin"] == end and plain.facts()["begin"] is None
    cut, cut_mask = ids_of(framed, "a dog " * 300)
    assert cut_mask.all() and cut[-1] == end
    again = pickle.loads(pickle.dumps(framed.loaded()))
    assert again.encode("a cat", 12)[0].tolist() == own[:12].tolist()
    with pytest.raises(UserError, match="frame is 'begin', but the tokenizer has no token for it"):
        HuggingFace(str(folders["siglip"]), frame="begin").encode("a cat", 12)


@pytest.mark.parametrize(("family", "begins"), [("clip", True), ("bert", True), ("siglip", False), ("gpt2", False)])
def test_a_row_says_whether_it_begins_with_a_token_of_its_own(folders, family, begins):
    stream = stream_of(family, folders[family])
    ids, _ = ids_of(stream, "a cat")
    assert stream.facts()["begin"] == (int(ids[0]) if begins else None)


def test_gpt_2_has_no_padding_of_its_own_and_takes_the_end(folders):
    ids, mask = ids_of(stream_of("gpt2", folders["gpt2"]), "a cat")
    assert (ids[~mask] == 0).all() and not mask.all()
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(folders["gpt2"])
    assert own.pad_token_id is None and own.eos_token_id == 0


def test_an_empty_caption_is_a_bad_item_though_the_tokenizer_could(folders):
    with pytest.raises(BadItem, match="caption is empty"):
        stream_of("clip", folders["clip"])((" ",), None)


@pytest.mark.parametrize("side", ["left", None])
def test_padding_on_the_left_is_refused_where_it_is_read(side):
    config = {"tokenizer_class": "GemmaTokenizerFast"} | ({"padding_side": side} if side else {})
    with pytest.raises(UserError, match="padding_side is 'left', and this model reads its padding"):
        check_padding("gemma", config, reads_padding=True)
    check_padding("gemma", config, reads_padding=False)


# open_clip

# What open_clip's own tokenizer takes as text and transformers as special tokens, and the other way round.
SPECIAL = {"<|endoftext|>", "<|startoftext|>cat<|endoftext|> dog", "<start_of_text>cat<end_of_text>"}


def test_ids_are_open_clips_where_a_text_names_no_special_token(folders):
    open_clip = import_open_clip()
    theirs = open_clip.get_tokenizer("ViT-B-32")
    stream = build(open_clip_text_section({}, str(folders["clip"])), STREAMS, "x")
    wrong = {text for text in NASTY if not np.array_equal(ids_of(stream, text)[0], theirs(text)[0].numpy())}
    assert wrong == SPECIAL


def test_without_cleaning_messy_texts_differ_from_open_clips(folders):
    open_clip = import_open_clip()
    theirs = open_clip.get_tokenizer("ViT-B-32")
    stream = stream_of("clip", folders["clip"], pad=0)
    wrong = {text for text in NASTY if not np.array_equal(ids_of(stream, text)[0], theirs(text)[0].numpy())} - SPECIAL
    assert "Tom &amp; Jerry &lt;3 &#39;quoted&#39; &amp;lt;" in wrong and "schÃ¶n, mojibake â€™" in wrong
    assert not wrong & {"the dog", "The Dog", "a photo, of a CAT!", "红球", "don't", "a dog " * 300}


@pytest.mark.parametrize(("family", "clean"), [("siglip2", "canonicalize"), ("bert", None), ("roberta", "lower")])
def test_ids_are_those_of_open_clips_wrapper_of_other_tokenizers(folders, family, clean):
    import_open_clip()
    from open_clip.tokenizer import HFTokenizer

    options = {"clean": clean} if clean else {}
    theirs = HFTokenizer(str(folders[family]), context_length=40, **options)
    cfg = {"context_length": 40, "hf_tokenizer_name": "x", "tokenizer_kwargs": options}
    stream = build(open_clip_text_section(cfg, str(folders[family])), STREAMS, "x")
    assert [text for text in NASTY if not np.array_equal(ids_of(stream, text)[0], theirs(text)[0].numpy())] == []


@pytest.mark.parametrize(
    "cfg",
    [
        {"context_length": 77},
        {"context_length": 32, "tokenizer_kwargs": {"clean": "canonicalize"}},
        {"context_length": 64, "hf_tokenizer_name": "b/c", "tokenizer_kwargs": {"clean": "canonicalize"}},
        {"context_length": 64, "hf_tokenizer_name": "b/c"},
    ],
)
def test_open_clips_configs_go_out_as_they_came_in(cfg):
    section = open_clip_text_section(cfg, "folder")
    assert open_clip_text_cfg(section, cfg.get("hf_tokenizer_name")) == cfg
    assert text_differences("open_clip", section, cfg["context_length"]) == []


def test_tokenizing_that_mmjax_has_not_is_refused():
    with pytest.raises(UserError, match="tokenizer_kwargs.strip_sep_token is True"):
        open_clip_text_section({"tokenizer_kwargs": {"clean": "lower", "strip_sep_token": True}}, "x")


def test_what_the_other_library_does_otherwise_is_told():
    own = open_clip_text_section({}, "x")
    told = " ".join(text_differences("hf", own, 77))
    assert "clean is 'lower'" in told and "pad is 0" in told
    plain = text_section("x", 77)
    assert text_differences("hf", plain, 77) == []
    assert "clean is None" in text_differences("open_clip", plain, 77)[0]
    assert "lowercase is True" in text_differences("hf", plain | {"lowercase": True}, 77)[0]
    assert text_differences("open_clip", own | {"length": 16}, 77) == [
        "length is 16, but open_clip cuts texts at the model's 77 positions"
    ]
    assert text_differences("hf", plain | {"length": 16}, 77) == []  # its tokenizer carries the length


# What is missing


def without(monkeypatch, *modules):
    """As if modules were not installed."""
    real = builtins.__import__

    def importing(name, *args, **kwargs):
        if name.partition(".")[0] in modules:
            raise ImportError(f"no module {name}\nand a second line")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)


def test_a_missing_library_is_named(folders, monkeypatch):
    cleaning = HuggingFace(str(folders["bert"]), clean="lower")
    without(monkeypatch, "ftfy")
    with pytest.raises(UserError, match="clean 'lower' needs ftfy, as open_clip does: pip install ftfy"):
        cleaning.encode("a", 8)


def test_a_tokenizer_that_cannot_be_imported_says_what_to_install(monkeypatch):
    import transformers

    def refuse(*args, **kwargs):
        raise ImportError("SiglipTokenizer requires the SentencePiece library\nand a second line")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", refuse)
    with pytest.raises(UserError, match="SentencePiece library: pip install sentencepiece protobuf$"):
        HuggingFace("siglip").encode("a", 8)


def test_clips_merges_without_open_clip(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="bpe_simple_vocab_16e6.txt.gz is part of open_clip: pip install"):
        write_clip_tokenizer(tmp_path)


def test_options_survive_pickling(folders):
    pytest.importorskip("ftfy", reason="the extra [torch] is not installed")
    tokenizer = HuggingFace(str(folders["bert"]), pad=7, clean="lower")
    copy = pickle.loads(pickle.dumps(tokenizer))
    for text in ("A &amp; B", "dog"):
        np.testing.assert_array_equal(copy.encode(text, 12)[0], tokenizer.encode(text, 12)[0])
    assert copy.pad == 7
