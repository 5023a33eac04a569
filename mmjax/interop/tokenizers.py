"""Tokenizers, in and out: what a section of our text stream must say to give the ids of the reference."""

import gzip
import importlib.util
import json
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

from mmjax.errors import UserError

Config = Mapping[str, Any]
Frame = Literal["begin", "end", "both"]  # see `mmjax.data.tokenizers.hf`
Section = Mapping[str, Any]

# Classes of transformers that pad on the left where their file does not say.
LEFT = frozenset(("GemmaTokenizer", "Siglip2Tokenizer"))
CLIP_MERGES = 49152 - 256 - 2  # of the lines of CLIP's file, behind its first
CLIP_SPECIAL = ("<|startoftext|>", "<|endoftext|>")
BPE_FILE = "bpe_simple_vocab_16e6.txt.gz"


def text_section(path: str, length: int) -> dict[str, Any]:
    """The text stream that gives the ids of a `transformers` model's processor, padded to `length`.

    Args:
      path: folder or name of the tokenizer.
      length: ids a row: 77 for CLIP, 64 for SigLIP and SigLIP 2, 52 for Chinese-CLIP, up to 512 for BERT.
    """
    return {"name": "text", "tokenizer": {"name": "hf", "path": path}, "length": length}


def written_section(path: str, length: int, tower: Section) -> dict[str, Any]:
    """The text stream of a decoder, whose rows begin and end with the decoder's own ids; see `frame_of`."""
    section = text_section(path, length)
    frame = frame_of(path, tower["begin"], tower["eos"])
    return section if frame is None else {**section, "tokenizer": {**section["tokenizer"], "frame": frame}}


def frame_of(path: str, begin: int | None, end: int | None) -> Frame | None:
    """What must be put around a tokenizer's texts so that they begin and end with these ids.

    Args:
      path: folder or name of the tokenizer.
      begin, end: ids; None for none.

    Raises:
      UserError: it puts others there, or has these not as its own begin and end.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    ids, special = tokenizer("a")["input_ids"], set(tokenizer.all_special_ids)
    found = {"begin": (ids[0], tokenizer.bos_token_id, begin), "end": (ids[-1], tokenizer.eos_token_id, end)}
    missing = []
    for place, (outer, own, wanted) in found.items():
        there = outer if outer in special else None
        if there == wanted:
            continue
        if there is not None or own != wanted:
            raise UserError(
                f"{path}: the tokenizer's {place} is {own if there is None else there}, but the decoder's is {wanted} "
                f"(task.towers.text.{'begin' if place == 'begin' else 'eos'}); give the tokenizer that it was trained "
                "with by --tokenizer FOLDER"
            )
        missing.append(place)
    frame: dict[tuple[str, ...], Frame] = {("begin",): "begin", ("end",): "end", ("begin", "end"): "both"}
    return frame.get(tuple(missing))


def check_padding(path: str, tokenizer_config: Config, reads_padding: bool) -> None:
    """Refuses a tokenizer that pads on the left before an encoder that would read it: a text stream pads on the right.

    Args:
      path: folder or name of the tokenizer, for the message.
      tokenizer_config: its `tokenizer_config.json`.
      reads_padding: whether the text encoder attends to padding: SigLIP's does, and all of open_clip, which masks none.

    Raises:
      UserError: such a tokenizer.
    """
    name = str(tokenizer_config.get("tokenizer_class", "")).removesuffix("Fast")
    side = tokenizer_config.get("padding_side") or ("left" if name in LEFT else "right")
    if reads_padding and side != "right":
        raise UserError(
            f"{path}/tokenizer_config.json: padding_side is {side!r}, and this model reads its padding: mmjax pads on "
            "the right; if the model was trained so, as SigLIP 2 was, set padding_side to 'right'"
        )


def check_pad(path: str, pad_id: int) -> None:
    """Refuses a tokenizer that pads with another id than the one that open_clip masks.

    Args:
      path: folder or name of the tokenizer.
      pad_id: of the model's `text_cfg`.

    Raises:
      UserError: such a tokenizer.
    """
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(path).pad_token_id
    if own != pad_id:
        raise UserError(
            f"{path}: the tokenizer pads with {own}, but this model masks {pad_id} (text_cfg.pad_id); "
            "give the tokenizer that it was trained with by --tokenizer FOLDER"
        )


def open_clip_text_section(text_cfg: Config, path: str) -> dict[str, Any]:
    """The text stream that gives the ids of `open_clip.get_tokenizer` for a model config's `text_cfg`.

    Args:
      path: folder or name of the tokenizer: where `text_cfg` names none, CLIP's (see `write_clip_tokenizer`).

    Raises:
      UserError: a way of tokenizing that mmjax does not have.
    """
    options = {key: value for key, value in (text_cfg.get("tokenizer_kwargs") or {}).items() if value}
    own = not text_cfg.get("hf_tokenizer_name")
    clean = options.pop("clean", "lower" if own else "whitespace")
    for key, value in options.items():
        raise UserError(f"text_cfg.tokenizer_kwargs.{key} is {value!r}: mmjax has no such tokenizer option; only clean")
    tokenizer = {"name": "hf", "path": path, "clean": clean, **({"pad": 0} if own else {})}
    return {"name": "text", "tokenizer": tokenizer, "length": text_cfg.get("context_length", 77)}


def open_clip_text_cfg(section: Section, hf_tokenizer_name: str | None) -> dict[str, Any]:
    """The keys of `text_cfg` that make `open_clip` tokenize as a text stream; inverse of `open_clip_text_section`.

    Args:
      hf_tokenizer_name: where open_clip finds the tokenizer; None for its own, which is CLIP's.
    """
    own = hf_tokenizer_name is None
    clean = section["tokenizer"].get("clean")
    out: dict[str, Any] = {"context_length": section["length"]}
    if not own:
        out["hf_tokenizer_name"] = hf_tokenizer_name
    if clean not in (None, "lower" if own else "whitespace"):
        out["tokenizer_kwargs"] = {"clean": clean}
    return out


def text_differences(library: Literal["hf", "open_clip"], section: Section, positions: int) -> list[str]:
    """What an export's tokenizer does otherwise than the stream, one line each, to be told to the user.

    Args:
      positions: of the text encoder; open_clip's rows are as long.
    """
    clean, pad, frame = (section["tokenizer"].get(key) for key in ("clean", "pad", "frame"))
    out = []
    if section.get("lowercase"):
        out.append(f"lowercase is True, but {library} may not lower the case of a text: lower it before the tokenizer")
    if library == "hf" and clean:
        out.append(f"clean is {clean!r}, but transformers takes a text as it is: clean it as open_clip does")
    if library == "hf" and pad is not None:
        out.append(f"pad is {pad}, but transformers pads with the tokenizer's own id, which matters if padding is read")
    if library == "hf" and frame:
        out.append(f"frame is {frame!r}, but the tokenizer of transformers puts neither begin nor end where ours does")
    if library == "open_clip" and clean is None:
        out.append("clean is None, but open_clip mends mojibake, HTML entities and blanks before it tokenizes")
    if library == "open_clip" and section["length"] != positions:
        out.append(f"length is {section['length']}, but open_clip cuts texts at the model's {positions} positions")
    return out


def write_clip_tokenizer(folder: pathlib.Path, merges: pathlib.Path | None = None) -> pathlib.Path:
    """Writes CLIP's tokenizer as `transformers` reads it, from OpenAI's list of merges.

    Args:
      merges: `bpe_simple_vocab_16e6.txt.gz`; None takes the one within the installed open_clip, which is not imported.

    Returns:
      The folder.

    Raises:
      UserError: open_clip is not installed.
    """
    spec = importlib.util.find_spec("open_clip") if merges is None else None
    if merges is None:
        if spec is None or spec.origin is None:
            raise UserError(f"CLIP's {BPE_FILE} is part of open_clip: pip install 'mmjax[torch]', or give its path")
        merges = pathlib.Path(spec.origin).parent / BPE_FILE
    lines = gzip.decompress(merges.read_bytes()).decode("utf-8").split("\n")[1 : CLIP_MERGES + 1]
    alphabet = byte_characters()
    words = [*alphabet, *(f"{c}</w>" for c in alphabet), *("".join(line.split()) for line in lines), *CLIP_SPECIAL]
    start, end = CLIP_SPECIAL
    config = dict(tokenizer_class="CLIPTokenizer", model_max_length=77, bos_token=start, eos_token=end, pad_token=end)
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = json.dumps({word: number for number, word in enumerate(words)}, ensure_ascii=False)
    (folder / "vocab.json").write_text(vocabulary, "utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines, ""]), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), "utf-8")
    return folder


def byte_characters() -> list[str]:
    """A printable character for every byte, in the order of CLIP's and GPT-2's ids: printable bytes come first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [*map(chr, printable), *(chr(256 + n) for n in range(256 - len(printable)))]
