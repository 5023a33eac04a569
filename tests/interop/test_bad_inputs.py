"""Checkpoints as people have them: cut short, of another kind, unsafe, half, with a head, in shards."""

import json
import pathlib
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from safetensors.torch import load_file, save_file

import mmjax
from mmjax.cli import main
from mmjax.errors import UserError
from mmjax.interop.importer import Options
from tests.interop.peers import PEERS, random_model, torch, transformers, write


@pytest.fixture
def clip(tmp_path):
    return write(PEERS["clip"], random_model(PEERS["clip"]), tmp_path / "clip").removeprefix("hf:")


def refused(source, *words, **options):
    """Whether loading is refused in one line that holds these words."""
    with pytest.raises(UserError) as error:
        mmjax.load(source, **options)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def change(folder, change_tensors):
    file = pathlib.Path(folder) / "model.safetensors"
    tensors = load_file(file)
    change_tensors(tensors)
    save_file(tensors, file, {"format": "pt"})


def edit(file, **changes):
    file = pathlib.Path(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def flat(model):
    return {name: np.asarray(x) for name, x in traverse_util.flatten_dict(model.params, sep="/").items()}


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_another_architecture(clip):
    edit(f"{clip}/config.json", model_type="resnet")
    refused(f"hf:{clip}", "no family for the model type 'resnet'", "clip, siglip")


def test_a_folder_of_no_model_at_all(tmp_path):
    refused(f"hf:{tmp_path}", "config.json: missing")
    (tmp_path / "config.json").write_text("{}")
    refused(f"hf:{tmp_path}", "no model_type")


def test_no_weights(clip):
    (pathlib.Path(clip) / "model.safetensors").unlink()
    refused(f"hf:{clip}", "no weights", "model.safetensors, pytorch_model.bin")


@pytest.mark.parametrize("keep", [4, 100, 5000])
def test_a_truncated_file(clip, keep):
    file = pathlib.Path(clip) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    refused(f"hf:{clip}", "model.safetensors: not a whole safetensors file", "fetch it again")


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(self.marker),)


def save_as_before_1_6(value, file):
    """What torch wrote before it wrote zip archives; many files on the Hub are of that time."""
    torch.save(value, file, _use_new_zipfile_serialization=False)


def save_as_pickle(value, file):
    file.write_bytes(pickle.dumps(value))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt"])
@pytest.mark.parametrize("save", [torch.save, save_as_before_1_6, save_as_pickle])
def test_code_in_a_pickle_is_not_run(clip, tmp_path, name, save):
    marker, folder = tmp_path / "it ran", pathlib.Path(clip)
    (folder / "model.safetensors").unlink()
    save({"logit_scale": Bomb(marker)}, folder / name)
    refused(f"hf:{clip if name == 'pytorch_model.bin' else folder / name}", name, "nothing else is run")
    assert not marker.exists()
    if save is save_as_pickle:
        pickle.loads((folder / name).read_bytes())
    else:
        torch.load(folder / name, weights_only=False)
    assert marker.exists(), "the bomb works, were it to be unpickled"


def parameters(tensors):
    return {name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}


@pytest.mark.parametrize("save", [torch.save, save_as_before_1_6])
@pytest.mark.parametrize("kind", [dict, parameters])
def test_a_torch_file_gives_the_same_parameters(clip, save, kind):
    want = flat(mmjax.load(f"hf:{clip}"))
    folder = pathlib.Path(clip)
    save(kind(load_file(folder / "model.safetensors")), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    same(want, flat(mmjax.load(f"hf:{clip}")))


def test_shards_give_the_same_parameters(tmp_path):
    peer = PEERS["clip"]
    model = random_model(peer)
    whole = write(peer, model, tmp_path / "whole")
    write(peer, model, tmp_path / "shards")
    (tmp_path / "shards" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 3
    same(flat(mmjax.load(whole)), flat(mmjax.load(f"hf:{tmp_path / 'shards'}")))
    next((tmp_path / "shards").glob("*-00002-*")).unlink()
    refused(f"hf:{tmp_path / 'shards'}", "-00002-", "missing")


def test_no_tokenizer(clip):
    for file in pathlib.Path(clip).glob("tokenizer*"):
        file.unlink()
    refused(f"hf:{clip}", "no tokenizer in", "--tokenizer")


def test_another_tokenizer_by_name_of_a_folder(clip, tmp_path):
    for file in pathlib.Path(clip).glob("tokenizer*"):
        file.rename(tmp_path / file.name)
    model = mmjax.load(f"hf:{clip}", options=Options(tokenizer=str(tmp_path)))
    assert model.embed(text=["w1"]).shape == (1, 24)


def test_no_preprocessing(clip):
    (pathlib.Path(clip) / "preprocessor_config.json").unlink()
    refused(f"hf:{clip}", "preprocessor_config.json")


def test_a_name_without_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("hf:nobody/gated-model", "not a folder here, not in the cache", "give the folder")
    refused("hf:./no/such/folder", "no such file or folder")
    refused("open_clip:ViT-B-33@/nowhere.pt", "no file /nowhere.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32(clip, dtype):
    def halve(tensors):
        tensors |= {name: x.to(dtype) for name, x in tensors.items()}

    change(clip, halve)
    model = mmjax.load(f"hf:{clip}")
    file = load_file(pathlib.Path(clip) / "model.safetensors")
    kernel = flat(model)["project_image/kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, file["visual_projection.weight"].float().numpy().T)


def test_whole_numbers_are_no_weights(clip):
    change(clip, lambda tensors: tensors.update({"visual_projection.weight": torch.zeros(24, 32, dtype=torch.int64)}))
    refused(f"hf:{clip}", "visual_projection.weight is I64, not a float")


def test_all_that_is_wrong_is_listed(clip):
    def spoil(tensors):
        del tensors["logit_scale"]
        tensors["classifier.weight"] = torch.zeros(3, 3)
        tensors["text_projection.weight"] = torch.zeros(24, 33)

    change(clip, spoil)
    refused(
        f"hf:{clip}",
        "missing logit_scale",
        "unexpected classifier.weight",
        "text_projection.weight is [24, 33], which makes project_text/kernel [33, 24], not [32, 24]",
    )


def test_a_classifier_is_dropped_by_name(tmp_path):
    vit = transformers.ViTForImageClassification(transformers.ViTConfig(**PEERS["vit"].make().config.to_dict()))
    source = write(PEERS["vit"], vit, tmp_path)
    refused(source, "unexpected classifier", "--drop")
    model = mmjax.load(source, options=Options(drop=(r"^classifier\.",)))
    kernel = vit.vit.embeddings.cls_token.detach().numpy()[0, 0]
    np.testing.assert_array_equal(flat(model)["towers_image/class_token"], kernel)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "--drop '(' is no regular expression"),
        ("^clasifier", "--drop '^clasifier' matches no tensor beside those that the model needs; there are classifier"),
        ("cls_token", "--drop 'cls_token' matches no tensor beside those that the model needs"),
    ],
)
def test_a_pattern_that_drops_nothing(tmp_path, pattern, message):
    vit = transformers.ViTForImageClassification(transformers.ViTConfig(**PEERS["vit"].make().config.to_dict()))
    source = write(PEERS["vit"], vit, tmp_path)
    refused(source, message, options=Options(drop=("^classifier", pattern)))


def test_a_pattern_where_nothing_can_be_dropped(clip):
    refused(f"hf:{clip}", "--drop '(' is no regular expression", options=Options(drop=("(",)))
    refused(f"hf:{clip}", "the model needs; there is none", options=Options(drop=("logit_scale",)))


def test_a_tied_head(tmp_path):
    peer = PEERS["gpt2"]
    model = random_model(peer)
    source = write(peer, model, tmp_path)
    bare = flat(mmjax.load(source))
    tie = lambda tensors: tensors.update({"lm_head.weight": tensors["wte.weight"].clone()})  # noqa: E731
    change(tmp_path, tie)
    same(bare, flat(mmjax.load(source)))
    change(tmp_path, lambda tensors: tensors["lm_head.weight"].add_(1.0))
    refused(source, "lm_head.weight differs from wte.weight")


def test_a_token_more_than_the_table_has(clip):
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip)
    tokenizer.add_tokens([f"new{i}" for i in range(20)])
    tokenizer.save_pretrained(clip)
    refused(f"hf:{clip}", "ids, but its embedding table only 120 rows")


def test_a_value_that_mmjax_does_not_have(clip):
    config = json.loads((pathlib.Path(clip) / "config.json").read_text())
    edit(f"{clip}/config.json", text_config={**config["text_config"], "hidden_act": "mish"})
    refused(f"hf:{clip}", "text_config.hidden_act is 'mish'", "known: quick_gelu, gelu")


@pytest.mark.parametrize(
    ("part", "key", "value", "words"),
    [
        ("vision_config", "hidden_size", "32", ("hidden_size", "expected int, got str")),
        ("vision_config", None, [1], ("vision_config", "with value [1]")),
        ("vision_config", "image_size", [32, 48], ("vision_config.image_size is [32, 48]", "one number")),
        ("vision_config", "image_size", 4, ("pictures of 4 pixels do not give patches of 8",)),
    ],
)
def test_a_config_of_wrong_values(clip, part, key, value, words):
    config = json.loads((pathlib.Path(clip) / "config.json").read_text())
    edit(f"{clip}/config.json", **{part: value if key is None else config[part] | {key: value}})
    refused(f"hf:{clip}", *words)


def test_a_square_as_a_pair(clip):
    config = json.loads((pathlib.Path(clip) / "config.json").read_text())
    want = flat(mmjax.load(f"hf:{clip}"))
    edit(f"{clip}/config.json", vision_config=config["vision_config"] | {"image_size": [32, 32]})
    same(want, flat(mmjax.load(f"hf:{clip}")))


@pytest.mark.parametrize("length", [0, 99])
def test_more_ids_than_positions(clip, length):
    refused(f"hf:{clip}", f"--text-length {length}", "16 positions", options=Options(text_length=length))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (10, "position_embedding.weight is [10, 32], which makes towers_image/position_table [10, 32], not [17, 32]"),
        (15, "position_embedding.weight is [15, 32]"),
    ],
)
def test_a_position_table_of_another_grid(clip, rows, says):
    """Of 3 x 3 patches, which could be resized and must not be, or of no grid at all."""
    name = "vision_model.embeddings.position_embedding.weight"
    change(clip, lambda tensors: tensors.update({name: tensors[name][:rows].clone()}))
    refused(f"hf:{clip}", says)
    refused(f"hf:{clip}", says, options=Options(image_size=48))


def test_a_config_that_says_another_size_than_the_table_has(clip):
    config = json.loads((pathlib.Path(clip) / "config.json").read_text())
    edit(f"{clip}/config.json", vision_config=config["vision_config"] | {"image_size": 64})
    refused(f"hf:{clip}", "position_table [17, 32], not [65, 32]", options=Options(image_size=32))


def test_a_number_of_patches_that_is_not_the_table_s(tmp_path):
    source = write(PEERS["siglip2_naflex"], random_model(PEERS["siglip2_naflex"]), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    edit(tmp_path / "config.json", vision_config=config["vision_config"] | {"num_patches": 25})
    refused(source, "position_table [16, 32], not [25, 32]")


def test_preprocessing_of_another_size_than_the_config_s(clip):
    edit(f"{clip}/preprocessor_config.json", size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    refused(f"hf:{clip}", "pictures of 48 pixels", "image_size", "--image-size 32", "--image-size 48")
    for size, rows in ((32, 17), (48, 37)):
        model = mmjax.load(f"hf:{clip}", options=Options(image_size=size))
        assert model.streams["image"].size == size
        assert flat(model)["towers_image/position_table"].shape == (rows, 32)


def test_dinov2_resizes_its_table_unasked_as_there(tmp_path):
    source = write(PEERS["dinov2"], random_model(PEERS["dinov2"]), tmp_path)
    edit(tmp_path / "preprocessor_config.json", size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})
    assert flat(mmjax.load(source))["towers_image/position_table"].shape == (37, 32)


def test_a_size_below_one_patch(clip):
    refused(f"hf:{clip}", "--image-size 7: smaller than one patch of 8", options=Options(image_size=7))


def test_a_deviation_of_zero(clip):
    edit(f"{clip}/preprocessor_config.json", image_std=[0.2, 0, 0.4])
    refused(f"hf:{clip}", "image_std is [0.2, 0.0, 0.4]", "divided by it")


@pytest.mark.parametrize("size", [48, 50])  # 50 pixels are six patches and a margin, which a convolution leaves out
def test_another_size_resizes_the_positions(clip, size):
    small, large = mmjax.load(f"hf:{clip}"), mmjax.load(f"hf:{clip}", options=Options(image_size=size))
    assert flat(small)["towers_image/position_table"].shape == (17, 32)
    assert flat(large)["towers_image/position_table"].shape == (37, 32)
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    other = transformers.CLIPModel.from_pretrained(clip)
    values = (pixels / np.float32(255) - np.float32((0.4, 0.5, 0.6))) / np.float32((0.2, 0.3, 0.4))
    with torch.inference_mode():
        tensor = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None]
        out = other.get_image_features(tensor, interpolate_pos_encoding=True)
        want = out if isinstance(out, torch.Tensor) else out.pooler_output
    want = torch.nn.functional.normalize(want, dim=-1).numpy()
    np.testing.assert_allclose(large.embed(image=[pixels]), want, atol=1e-5)


def test_parameters_go_where_they_are_put(clip):
    seen = []
    mmjax.load(f"hf:{clip}", place=lambda name, values: seen.append((name, values.shape)) or jnp.asarray(values))
    assert ("project_image/kernel", (32, 24)) in seen
    assert len(seen) == len(flat(mmjax.load(f"hf:{clip}")))


def test_import_says_it_in_one_line(clip, tmp_path, capsys):
    assert main(["import", f"hf:{clip}", str(tmp_path / "bundle")]) == 0
    same(flat(mmjax.load(f"hf:{clip}")), flat(mmjax.load(tmp_path / "bundle")))
    edit(f"{clip}/config.json", model_type="resnet")
    assert main(["import", f"hf:{clip}", str(tmp_path / "other")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("mmjax import: hf:")
    assert not (tmp_path / "other").exists()
