"""Checkpoints to measure on: CLIP with random weights, as transformers saves it.

python benchmarks/parity/b32.py FOLDER [--tiny] [--max-shard-size 100MB]
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
TINY = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)


def write(folder: pathlib.Path, tiny: bool = False, max_shard_size: str = "5GB") -> pathlib.Path:
    """Weights, config, preprocessing and tokenizer of a ViT-B/32, the default of `CLIPConfig`, or of a tiny CLIP."""
    from mmjax.interop.exporter import write_json
    from mmjax.interop.processors import preprocessor_config
    from mmjax.interop.tokenizers import write_clip_tokenizer
    from tests.interop.torch_peers import mend_torchvision

    mend_torchvision()
    import torch
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    ends = dict(bos_token_id=0, eos_token_id=2)  # as OpenAI's own configs say; the text is pooled at its largest id
    text, vision = (TINY, TINY) if tiny else ({}, {})
    model = CLIPModel(CLIPConfig(text_config={**text, **ends}, vision_config=vision))
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    section = {"name": "image", "size": 224, "resize": "shortest", "interpolation": "bicubic"}
    write_json(folder / "preprocessor_config.json", preprocessor_config("clip", section, mean, std))
    return write_clip_tokenizer(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--max-shard-size", default="5GB")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.tiny, arguments.max_shard_size)
