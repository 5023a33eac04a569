"""The evaluators on real sets, with a model that knows nothing: every row counts, on any number of devices."""

import jax
import pytest

import mmjax
from mmjax.data.evaluation import EvalData
from mmjax.data.sources import open_source
from mmjax.evaluation.retrieval import Retrieval
from mmjax.evaluation.zero_shot import ZeroShot
from mmjax.mesh import MeshShape, make_mesh


@pytest.fixture(params=[1, 8])
def mesh(request):
    return make_mesh(MeshShape(), jax.devices()[: request.param])


def test_fashion_mnist_by_the_names_of_the_data_and_by_shipped_prompts(tiny_bundle, data_root, mesh):
    folder = data_root / "fashion_mnist"
    section = {"name": "idx", "names": str(folder / "class_names.txt"), "templates": ("a {}", "a picture of a {}")}
    section |= {key: str(folder / f"t10k-{key}-idx{n}-ubyte.gz") for key, n in (("images", 3), ("labels", 1))}
    model = mmjax.load(tiny_bundle, mesh)
    data = EvalData(open_source(section), model.streams, 64, limit=211)
    for prompts in (None, "fashion_mnist"):
        metrics = ZeroShot(prompts=prompts).run(model.task, model.params, data, mesh)
        assert metrics["zero_shot/images"] == 211
        assert 0 <= metrics["zero_shot/top1"] < 0.5 and metrics["zero_shot/top1"] <= metrics["zero_shot/top5"]
        classes = [value for key, value in metrics.items() if "/class/" in key]
        assert len(classes) == 10
        assert ("zero_shot/class/T-shirt-top" in metrics) is (prompts is None)
    assert "10 classes x 2 templates" in ZeroShot().notes(data)["zero_shot prompts"]


def test_flickr8k_has_five_answers_a_picture(tiny_bundle, data_root, mesh):
    source = {
        "path": str(data_root / "flickr8k_1k/flickr8k_1k.tar"),
        "caption": "captions_en",
        "where": {"split": "test"},
    }
    model = mmjax.load(tiny_bundle, mesh)
    data = EvalData(open_source(source), model.streams, 64, limit=53)
    metrics = Retrieval().run(model.task, model.params, data, mesh)
    assert metrics["retrieval/image_to_text/queries"] == 53
    assert metrics["retrieval/text_to_image/queries"] == 53 * 5
    assert metrics["retrieval/text_to_image/R@1"] < 0.2
