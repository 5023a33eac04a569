"""Ids of nasty strings, pinned; truncation, padding, training and saving of all three tokenizers."""

import json
import pathlib
import pickle
import unicodedata

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from mmjax.data.tokenizers import BOS, EOS, PAD, Bpe, Bytes, HuggingFace, load_tokenizer, train_bpe
from mmjax.errors import UserError

CORPUS = [
    "A black dog runs across the green grass .",
    "a little girl in a red dress is climbing the stairs",
    "Two dogs are playing with a red ball, aren't they?",
    "穿红裙子的小女孩在爬楼梯。",
    "两只狗在草地上玩红球，一只黑狗在跑。",
    "3 men & 12 women — café naïve 100%",
] * 5
GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_tokens.json").read_text("utf-8"))
LENGTH = 24


@pytest.fixture(scope="module")
def bpe(tmp_path_factory):
    return Bpe(str(train_bpe(CORPUS, 420, tmp_path_factory.mktemp("bpe")).parent))


@pytest.fixture(scope="module")
def hf_folder(tmp_path_factory):
    """A word-level tokenizer with ids of its own, as a folder that needs no network."""
    from transformers import PreTrainedTokenizerFast

    words = ["[UNK]", "a", "dog", "red", "ball", "</s>", "<s>", "[PAD]", "狗"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 6), ("</s>", 5)]
    )
    special = dict(bos_token="<s>", eos_token="</s>", pad_token="[PAD]", unk_token="[UNK]")
    folder = tmp_path_factory.mktemp("hf")
    PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(folder)
    return folder


def ids_of(tokenizer, text, length=LENGTH):
    ids, mask = tokenizer.encode(text, length)
    assert ids.dtype == np.int32 and ids.shape == mask.shape == (length,)
    assert (ids[~mask] == tokenizer.pad).all()
    assert mask.tolist() == sorted(mask.tolist(), reverse=True)
    return ids[mask].tolist()


def test_there_are_about_fifty_nasty_strings():
    assert len(GOLDEN) >= 50


@pytest.mark.parametrize("text", GOLDEN)
def test_bpe_ids_are_these(bpe, text):
    assert ids_of(bpe, text) == GOLDEN[text]


@pytest.mark.parametrize("text", GOLDEN)
def test_byte_ids_are_the_bytes(text):
    assert ids_of(Bytes(), text) == [1, *(byte + 3 for byte in text.encode()[: LENGTH - 2]), 2]


@pytest.mark.parametrize("text", GOLDEN)
def test_hugging_face_ids_are_its_own(hf_folder, text):
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(hf_folder)
    expected = own(text, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="np")
    ids, mask = HuggingFace(str(hf_folder)).encode(text, LENGTH)
    np.testing.assert_array_equal(ids, expected["input_ids"][0])
    np.testing.assert_array_equal(mask, expected["attention_mask"][0].astype(bool))


def without(bpe, step, text):
    """Ids by a tokenizer that lacks one step of normalising."""
    content = json.loads(bpe._backend.to_str())
    steps = content["normalizer"]["normalizers"]
    content["normalizer"]["normalizers"] = [s for s in steps if s["type"] != step]
    return [BOS, *Tokenizer.from_str(json.dumps(content)).encode(text).ids[: LENGTH - 2], EOS]


MUTANTS = {
    "lowercased": lambda bpe, text: ids_of(bpe, text.lower()),
    "cut through the end token": lambda bpe, text: ids_of(bpe, text, 999)[:LENGTH],
    "no begin": lambda bpe, text: ids_of(bpe, text)[1:],
    "characters not composed": lambda bpe, text: without(bpe, "NFC", text),
    "no space before the first word": lambda bpe, text: without(bpe, "Prepend", text),
    "blanks kept": lambda bpe, text: without(bpe, "Strip", text),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_golden_ids_reject_wrong_variants(bpe, mutant):
    assert any(MUTANTS[mutant](bpe, text) != ids for text, ids in GOLDEN.items())


@pytest.mark.parametrize("text", [*GOLDEN, *CORPUS])
def test_nothing_is_unknown(bpe, text):
    """Decoding gives the text back, blanks aside and the sign that stands for them."""
    ids, mask = bpe.encode(text, 4000)
    assert bpe.decode(ids[mask].tolist()).strip() == " ".join(
        unicodedata.normalize("NFC", text.replace("▁", " ")).split()
    )


@pytest.mark.parametrize("tokenizer", ["bytes", "bpe", "hf"])
def test_a_long_text_keeps_its_end(tokenizer, bpe, hf_folder):
    tokenizer = {"bytes": Bytes(), "bpe": bpe, "hf": HuggingFace(str(hf_folder))}[tokenizer]
    long = ids_of(tokenizer, "a red dog " * 10_000, 16)
    assert len(long) == 16 and long[-1] == tokenizer.eos
    assert tokenizer.eos not in long[:-1]
    assert max(long) < tokenizer.size
    assert {long[0], long[-1], tokenizer.pad} <= tokenizer.special


def test_captions_cannot_forge_special_tokens(bpe):
    assert not set(ids_of(bpe, "<eos><pad><bos>")[1:-1]) & {PAD, BOS, EOS}


def test_training_is_deterministic(tmp_path):
    files = [train_bpe(iter(CORPUS), 400, tmp_path / str(i)).read_bytes() for i in range(3)]
    assert len(set(files)) == 1


def test_chinese_words_are_learnt(bpe):
    assert len(ids_of(bpe, "红球")) == len(ids_of(bpe, "在")) == 3
    rare = ids_of(bpe, "龘")
    assert len(rare) == 2 + 3 and bpe.decode(rare) == "龘"


def test_what_cannot_be_trained_is_refused(tmp_path):
    with pytest.raises(UserError, match="too small: 320 or more"):
        train_bpe(CORPUS, 200, tmp_path)
    with pytest.raises(UserError, match="no caption that is not empty"):
        train_bpe(["", "  "], 400, tmp_path)


@pytest.mark.parametrize("name", ["bytes", "bpe", "hf"])
def test_saved_tokenizers_read_alike(name, bpe, hf_folder, tmp_path):
    tokenizer = {"bytes": Bytes(), "bpe": bpe, "hf": HuggingFace(str(hf_folder))}[name]
    section = tokenizer.save(tmp_path / "saved")
    assert json.loads(json.dumps(section)) == section
    if "path" in section:
        section["path"] = str(tmp_path / "saved" / section["path"])
    again = load_tokenizer(section)
    copy = pickle.loads(pickle.dumps(again))
    for text in GOLDEN:
        assert ids_of(again, text) == ids_of(copy, text) == ids_of(tokenizer, text)
    assert again.size == tokenizer.size


def test_equal_sections_share_one_object(bpe):
    assert load_tokenizer({"name": "bpe", "path": bpe.path}) is load_tokenizer({"path": bpe.path, "name": "bpe"})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("byte", "did you mean bytes"),
        ({"name": "bpe", "path": "nowhere"}, "nowhere: no tokenizer.json"),
        ({"name": "bytes", "size": 3}, "unknown config key"),
        ({"name": "hf"}, "path is missing"),
    ],
)
def test_wrong_sections_are_refused(section, message):
    with pytest.raises(UserError, match=message):
        load_tokenizer(section)


def test_what_is_no_tokenizer_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="not a tokenizer file"):
        Bpe(str(tmp_path)).encode("a", 8)
    with pytest.raises(UserError, match="no Hugging Face tokenizer"):
        HuggingFace(str(tmp_path / "empty")).encode("a", 8)
    with pytest.raises(UserError, match="not trained yet"):
        Bpe().encode("a", 8)
