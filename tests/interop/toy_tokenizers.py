"""Small tokenizers of the classes that published models use, made here: no test asks the Hub for one."""

import io
import json
import pathlib

from tokenizers import ByteLevelBPETokenizer, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend

from mmjax.interop.tokenizers import write_clip_tokenizer

CORPUS = [
    "a photo of a cat",
    "Two dogs play with a red ball, aren't they?",
    "The man rides a bike down the street.",
    "3 men & 12 women — café naïve 100%",
    "穿红裙子的小女孩在爬楼梯。",
    "两只狗在草地上玩红球，一只黑狗在跑。",
] * 20


def clip(folder: pathlib.Path) -> None:
    """The real one."""
    write_clip_tokenizer(folder)


def siglip(folder: pathlib.Path) -> None:
    """A sentencepiece unigram model with the ids of T5: no begin, padding by the end token."""
    import sentencepiece

    model = io.BytesIO()
    options = dict(vocab_size=150, model_type="unigram", hard_vocab_limit=False, minloglevel=2)
    ids = dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text.lower() for text in CORPUS), model_writer=model, **options, **ids
    )
    (folder / "spiece.model").write_bytes(model.getvalue())
    configure(folder, "SiglipTokenizer", model_max_length=64, model_input_names=["input_ids"])


def siglip2(folder: pathlib.Path, tokenizer_class: str = "Siglip2Tokenizer") -> None:
    """Gemma's kind of byte-pair encoding, which ends a text and does not begin it."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    backend = Backend(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    known = special + [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=known, show_progress=False)
    backend.train_from_iterator([text.lower() for text in CORPUS], trainer)
    backend.post_processor = processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    backend.save(str(folder / "tokenizer.json"))
    names = {f"{name[1:-1]}_token": name for name in special}
    options = dict(padding_side="right", add_bos_token=False, add_eos_token=True)
    configure(folder, tokenizer_class, model_max_length=64, model_input_names=["input_ids"], **options, **names)


def bert(folder: pathlib.Path) -> None:
    """Word pieces: whole words, letters, and Chinese characters."""
    words = sorted({word for text in CORPUS for word in text.lower().split() if word.isascii()})
    letters = [chr(code) for code in range(33, 127)] + sorted({c for text in CORPUS for c in text if ord(c) > 126})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters), *words]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n", "utf-8")
    configure(folder, "BertTokenizer", model_max_length=512, do_lower_case=True)


def roberta(folder: pathlib.Path) -> None:
    byte_level(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    configure(folder, "RobertaTokenizer", model_max_length=512)


def gpt2(folder: pathlib.Path) -> None:
    byte_level(folder, ["<|endoftext|>"])
    configure(folder, "GPT2Tokenizer", model_max_length=1024)


def byte_level(folder: pathlib.Path, special: list[str]) -> None:
    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(CORPUS, vocab_size=400, special_tokens=special, show_progress=False)
    backend.save_model(str(folder))


def configure(folder: pathlib.Path, tokenizer_class: str, **options) -> None:
    config = json.dumps({"tokenizer_class": tokenizer_class, **options})
    (folder / "tokenizer_config.json").write_text(config, "utf-8")


MAKERS = dict(clip=clip, siglip=siglip, siglip2=siglip2, chinese_clip=bert, bert=bert, roberta=roberta, gpt2=gpt2)
