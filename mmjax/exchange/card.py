"""The model card of an export: what it is, what it scored, how to load it."""

import json
import pathlib
from typing import Any

import mmjax
from mmjax.bundle import find, of_pytorch
from mmjax.errors import UserError
from mmjax.interop.sources import read_json

USE = {
    "hf": """```python
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("DIR")
processor = AutoProcessor.from_pretrained("DIR")
```""",
    "writer": """```python
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

model = AutoModelForImageTextToText.from_pretrained("DIR")
processor = AutoImageProcessor.from_pretrained("DIR")
tokenizer = AutoTokenizer.from_pretrained("DIR")
ids = model.generate(processor(picture, return_tensors="pt").pixel_values)
texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
```""",
    "open_clip": """```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:DIR")
tokenizer = open_clip.get_tokenizer("local-dir:DIR")
```""",
    "safetensors": """```python
from safetensors.numpy import load_file

tensors = load_file("DIR/model.safetensors")
```""",
}
LIBRARIES = {"hf": "transformers", "open_clip": "open_clip", "safetensors": "mmjax"}


def card(model: Any, source: str, to: str) -> str:
    """A README.md with the front matter that model hubs read."""
    task = model.config["task"]
    both = {"image", "text"} <= task["towers"].keys()
    kind = "zero-shot-image-classification" if both else "feature-extraction"
    writes = task["name"] in ("caption", "answer")
    kind = "image-to-text" if writes else kind
    front = [f"library_name: {LIBRARIES[to]}", f"pipeline_tag: {kind}", "tags:", "- mmjax"]
    parts = ["---", *front, "---", "", "# Model", "", f"Exported by mmjax {mmjax.__version__}. {_towers(task)}", ""]
    parts += ["## Use", "", USE["writer" if writes and to == "hf" else to], ""]
    if scores := _scores(model, source):
        parts += ["## Evaluation", "", "| metric | value |", "|---|---|", *_rows(scores), ""]
    if config := model.config.get("config"):
        steps, size = config.get("steps"), config.get("batch_size")
        ways = f"{steps} steps of {size} examples. The whole config:"
        if average := model.config.get("average"):
            ways = f"The weighted mean of {len(average)} models. The first one's config:"
        parts += ["## Training", "", ways, ""]
        parts += ["```json", json.dumps(config, indent=1, ensure_ascii=False), "```", ""]
    return "\n".join(parts)


def _towers(task: Any) -> str:
    sizes = [
        f"{name} of width {t['width']} and depth {t['depth']}" for name, t in task["towers"].items() if t.get("width")
    ]
    return f"Towers: {', '.join(sizes)}." if sizes else ""


def _scores(model: Any, source: str) -> dict[str, float]:
    """The scores of the run that the model comes from, where it comes from one: a run keeps it as `bundle`.

    What lies beside any other folder may be another model's, and an average has none of its own.

    Raises:
      UserError: the run's file of scores holds something else.
    """
    if of_pytorch(source) or not model.config.get("config") or "average" in model.config:
        return {}
    folder = find(pathlib.Path(source)).resolve()
    file = folder.parent / "evaluation.json"
    if folder.name != "bundle" or not file.is_file():
        return {}
    scores = read_json(file)
    if odd := [name for name, value in scores.items() if not isinstance(value, (int, float))]:
        raise UserError(f"{file}: {odd[0]} is no number, so these are no scores of a run; mend the file or delete it")
    return scores


def _rows(scores: dict[str, float]) -> list[str]:
    return [
        f"| {name} | {value:,} |" if isinstance(value, int) else f"| {name} | {value:.4f} |"
        for name, value in scores.items()
    ]
