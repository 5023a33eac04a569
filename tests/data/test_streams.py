"""Streams: raw values to arrays, keyed choices, plain data that comes back from JSON, tokenizers made for a run."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from mmjax.config import build
from mmjax.data import fast
from mmjax.data.decode import decode
from mmjax.data.streams import STREAMS, ImageStream, PatchStream, TextStream, fit_tokenizers
from mmjax.data.tokenizers import BOS, EOS, PAD
from mmjax.data.world import Questions, World
from mmjax.errors import BadItem, UserError
from tests.data.toys import Toy

TEXTS = tuple(f"caption number {i}" for i in range(5))


def rng(*key):
    return np.random.default_rng(key)


def jpeg(width=90, height=60, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture(params=["pillow", "opencv"])
def cropping(request):
    """A stream that takes random crops, by either resampler."""
    if request.param == "opencv":
        pytest.importorskip("cv2", reason="the extra [fast] is not installed")
        pytest.importorskip("simplejpeg", reason="the extra [fast] is not installed")
    return ImageStream(size=32, crop_scale=(0.3, 1.0), resampler=request.param)


@pytest.mark.parametrize(
    "section",
    [
        {"name": "image", "size": 96, "crop_scale": [0.5, 1], "flip": True, "shift": 3, "cutout": 8},
        {"name": "image", "crop_scale": None, "resize": "squash", "interpolation": "bilinear"},
        {"name": "text", "tokenizer": {"name": "bytes"}, "length": 40, "choice": 1, "word_dropout": 0.1},
        {"name": "image", "size": 56, "resize_to": 64, "middle": "round"},
        {"name": "patches", "patch": 8, "max_patches": 30, "interpolation": "bicubic", "flip": True},
        {"name": "text", "field": "foil", "lowercase": True},
    ],
)
def test_sections_come_back_from_json(section):
    stream = build(section, STREAMS, "data.streams.x")
    assert build(json.loads(json.dumps(section)), STREAMS, "data.streams.x", root=None) == stream


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "image", "crop_scale": (0.0, 1.0)}, "crop_scale"),
        ({"name": "image", "crop_scale": (0.9, 0.5)}, "crop_scale"),
        ({"name": "image", "size": 0}, "size must"),
        ({"name": "image", "size": 8, "shift": 8}, "shift must"),
        ({"name": "image", "resize": "crop"}, "one of 'shortest', 'squash'"),
        ({"name": "image", "size": 8, "resize_to": 7}, "resize_to must be at least size"),
        ({"name": "image", "size": 8, "resize_to": 9, "resize": "squash"}, "resize_to must .* resize 'shortest'"),
        ({"name": "image", "middle": "up"}, "one of 'floor', 'round'"),
        ({"name": "patches", "patch": 0}, "patch and max_patches must be at least 1"),
        ({"name": "text", "length": 2}, "length must"),
        ({"name": "text", "word_dropout": 1.0}, "word_dropout"),
        ({"name": "text", "lenght": 2}, "did you mean length"),
        ({"name": "sound"}, "known: answers, image, patches, text"),
    ],
)
def test_wrong_sections_are_refused(section, message):
    with pytest.raises(UserError, match=message):
        build(section, STREAMS, "data.streams.x")


@pytest.mark.parametrize(
    "stream", [ImageStream(size=16), PatchStream(patch=4, max_patches=7), TextStream(length=20), TextStream("caption")]
)
def test_blank_has_the_shapes_and_types_of_a_row(stream):
    value = np.full((30, 20, 3), 9, np.uint8) if stream.kind == "image" else TEXTS
    for draws in (None, rng(0)):
        row, blank = stream(value, draws), stream.blank()
        assert {k: (v.shape, v.dtype) for k, v in row.items()} == {k: (v.shape, v.dtype) for k, v in blank.items()}
    assert not any(array.any() for array in blank.values())


def test_a_picture_of_the_right_size_is_not_touched():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert ImageStream(size=16)(pixels, None)["data"] is pixels
    assert ImageStream(size=16, crop_scale=None)(pixels, rng(0))["data"] is pixels


def test_a_picture_of_the_right_size_is_resized_where_more_is_asked_for():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    larger = Image.fromarray(pixels).resize((20, 20), Image.Resampling.BICUBIC).crop((2, 2, 18, 18))
    np.testing.assert_array_equal(ImageStream(size=16, resize_to=20)(pixels, None)["data"], np.asarray(larger))


def test_patches_are_the_picture_in_reading_order():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    row = PatchStream(patch=4, max_patches=6)(pixels, None)  # as many patches as it has: nothing is resized
    assert row["mask"].all() and row["position"].tolist() == [list(place) for place in np.ndindex(2, 3)]
    for patch, (i, j) in zip(row["data"], row["position"], strict=True):
        square = pixels[4 * i : 4 * i + 4, 4 * j : 4 * j + 4]
        np.testing.assert_array_equal(patch.reshape(4, 4, 3), square)


def test_patches_keep_the_aspect_and_pad_with_zeros():
    stream = PatchStream(patch=4, max_patches=50)
    for value in (jpeg(90, 60), jpeg(60, 90), jpeg(500, 20), jpeg(30, 30), jpeg(4000, 2)):
        image, row = decode(value), stream(value, None)
        rows, columns = row["position"][row["mask"]].max(axis=0) + 1
        count = rows * columns
        assert count == row["mask"].sum() <= 50 and not row["mask"][count:].any()
        assert not row["data"][~row["mask"]].any() and not row["position"][~row["mask"]].any()
        assert min(rows, columns) == 1 or abs(np.log(columns / rows * image.shape[0] / image.shape[1])) < 0.5


def test_patches_are_mirrored_in_training_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    stream = PatchStream(patch=4, max_patches=6, flip=True)
    plain, mirrored = stream(pixels, None)["data"], stream(pixels[:, ::-1], None)["data"]
    seen = [stream(pixels, rng(key))["data"] for key in range(40)]
    flipped = sum(np.array_equal(row, mirrored) for row in seen)
    assert 10 < flipped < 30 and flipped + sum(np.array_equal(row, plain) for row in seen) == 40


def test_a_picture_too_long_for_its_patches_is_a_bad_item():
    with pytest.raises(BadItem, match="3000000 x 2 pixels: too long for 2 patches"):
        PatchStream(patch=1, max_patches=2)(np.zeros((2, 3_000_000, 3), np.uint8), None)


def test_grey_arrays_become_rgb():
    grey = np.random.default_rng(0).integers(0, 256, (16, 16), dtype=np.uint8)
    np.testing.assert_array_equal(ImageStream(size=16)(grey, None)["data"], np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("value", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), b"", b"no picture"])
def test_what_is_no_picture_is_a_bad_item(value):
    for draws in (None, rng(0)):
        with pytest.raises(BadItem):
            ImageStream(size=4)(value, draws)


def test_random_crops_are_keyed(cropping):
    crops = [cropping(jpeg(), rng(key))["data"] for key in (1, 1, 2)]
    np.testing.assert_array_equal(crops[0], crops[1])
    assert (crops[0] != crops[2]).any()
    assert crops[0].shape == (32, 32, 3) and crops[0].dtype == np.uint8


@pytest.mark.parametrize("value", [jpeg(), jpeg(900, 700), jpeg(20, 14), np.asarray(decode(jpeg()))])
def test_the_resamplers_agree(value, cropping):
    """The same box, the same picture: one or two levels apart, whichever library took it and at whichever scale."""
    slow = ImageStream(size=32, crop_scale=(0.3, 1.0))
    for key in range(5):
        a, b = (stream(value, rng(key))["data"].astype(int) for stream in (slow, cropping))
        assert np.abs(a - b).mean() < 3


def exif(turn):
    tags = Image.Exif()
    tags[0x0112] = turn
    return tags


@pytest.mark.parametrize(
    "data",
    [jpeg(), jpeg(progressive=True), jpeg(subsampling=0), jpeg(exif=exif(6)), jpeg(exif=exif(1)), jpeg(quality=30)],
)
def test_fast_decoding_gives_pillows_pixels(data):
    pytest.importorskip("simplejpeg", reason="the extra [fast] is not installed")
    np.testing.assert_array_equal(fast.picture(data, 10**6), decode(data))


@pytest.mark.parametrize("data", [jpeg()[:-60], jpeg()[:20], b"\xff\xd8", b"", b"text", jpeg(1, 60)])
def test_fast_decoding_refuses_what_pillow_refuses(data):
    pytest.importorskip("simplejpeg", reason="the extra [fast] is not installed")
    with pytest.raises(BadItem):
        fast.picture(data, 8)


def test_flip_shift_and_cutout_happen_in_training_alone():
    pixels = np.random.default_rng(0).integers(1, 256, (16, 16, 3), dtype=np.uint8)
    stream = ImageStream(size=16, crop_scale=None, flip=True, shift=2, cutout=5)
    before = pixels.copy()
    assert stream(pixels, None)["data"] is pixels
    assert any((stream(pixels, rng(key))["data"] != pixels).any() for key in range(3))
    np.testing.assert_array_equal(pixels, before)
    flips = [ImageStream(size=16, crop_scale=None, flip=True)(pixels, rng(key))["data"] for key in range(40)]
    mirrored = sum(np.array_equal(flip, pixels[:, ::-1]) for flip in flips)
    assert 10 < mirrored < 30 and mirrored + sum(np.array_equal(flip, pixels) for flip in flips) == 40


def text_of(stream, value, draws):
    row = stream(value, draws)
    return stream.loaded().decode(row["data"][row["mask"]].tolist())


def test_evaluation_takes_the_first_caption_and_training_any():
    stream = TextStream(length=40)
    assert text_of(stream, TEXTS, None) == TEXTS[0]
    assert {text_of(stream, TEXTS, rng(key)) for key in range(60)} == set(TEXTS)
    assert text_of(stream, "one text", None) == "one text"


def test_choices_are_different_captions_where_there_are_enough():
    first, second, sixth = (TextStream(length=40, choice=choice) for choice in (0, 1, 5))
    for key in range(20):
        chosen = [text_of(stream, TEXTS, rng(key)) for stream in (first, second, sixth)]
        assert chosen[0] != chosen[1] and chosen[0] == chosen[2]
    assert text_of(second, ("alone",), rng(0)) == "alone"


def test_a_foil_stands_where_its_caption_stands():
    foils = tuple(text.upper() for text in TEXTS)
    caption, foil = TextStream(length=40), TextStream(field="foil", length=40)
    for key in range(20):
        assert text_of(foil, foils, rng(key)) == text_of(caption, TEXTS, rng(key)).upper()


def test_word_dropout_spares_special_tokens_and_one_word():
    plain, thinned = TextStream(length=60), TextStream(length=60, word_dropout=0.5)
    whole = plain("a quite long caption of bytes", rng(0))
    lengths = []
    for key in range(50):
        row = thinned("a quite long caption of bytes", rng(key))
        ids = row["data"][row["mask"]]
        assert ids[0] == BOS and ids[-1] == EOS and (row["data"][~row["mask"]] == PAD).all()
        lengths.append(len(ids) - 2)
    share = np.mean(lengths) / (whole["mask"].sum() - 2)
    assert 0.4 < share < 0.6
    np.testing.assert_array_equal(thinned("a quite long caption of bytes", None)["data"], whole["data"])
    assert TextStream(length=8, word_dropout=0.99)("ab", rng(3))["mask"].sum() >= 3


def test_lowercase():
    assert text_of(TextStream(lowercase=True), "ÀB", None) == "àb"


@pytest.mark.parametrize("value", [(), ("",), ("  ",)])
def test_no_text_is_a_bad_item(value):
    with pytest.raises(BadItem, match="caption"):
        TextStream()(value, None)


def test_facts_are_what_the_text_tower_needs():
    assert TextStream(length=40).facts() == {"vocabulary": 259, "length": 40, "begin": BOS, "eos": EOS, "pad": PAD}
    assert ImageStream().facts() == {}
    assert PatchStream(patch=14).facts() == {"patch": 14}


def sections(**changes):
    text = {"name": "text", "tokenizer": {"name": "bpe", "size": 330}}
    return {
        "image": {"name": "image"},
        "caption": text,
        "caption_2": {**text, "choice": 1},
        "lower": {**text, "lowercase": True},
        "larger": {**text, "tokenizer": {"name": "bpe", "size": 340}},
        "bytes": {"name": "text", "tokenizer": "bytes"},
        **changes,
    }


def test_tokenizers_are_trained_once_and_shared(tmp_path):
    source = Toy(30, bad=(0, 3))
    fitted = fit_tokenizers(sections(), [source], tmp_path)
    paths = {name: section.get("tokenizer") for name, section in fitted.items()}
    assert paths["caption"] == paths["caption_2"] == {"name": "bpe", "path": str(tmp_path / "caption")}
    assert paths["bytes"] == "bytes" and paths["image"] is None
    assert len({str(paths[name]) for name in ("caption", "lower", "larger")}) == 3
    assert sections() == sections(), "the given sections are left alone"
    stream = build(fitted["caption"], STREAMS, "x")
    assert text_of(stream, "two 7", None) == "two 7"
    again = fit_tokenizers(sections(), [Toy(5, repeats=2)], tmp_path)
    assert again == fitted, "a resumed run keeps what it has"
    with pytest.raises(UserError, match="trained otherwise than data.streams.larger asks"):
        fit_tokenizers(sections(larger={"name": "text", "tokenizer": {"name": "bpe", "size": 350}}), [source], tmp_path)


def test_the_same_captions_give_the_same_tokenizer(tmp_path):
    for place in ("a", "b"):
        fit_tokenizers(sections(), [Toy(30)], tmp_path / place)
    assert (tmp_path / "a/caption/tokenizer.json").read_bytes() == (tmp_path / "b/caption/tokenizer.json").read_bytes()


def test_a_source_without_captions_trains_no_tokenizer(tmp_path):
    with pytest.raises(UserError, match="toy: no captions to train a tokenizer on"):
        fit_tokenizers(sections(), [Toy(5, mute=tuple(range(5)))], tmp_path)


def test_a_saved_tokenizer_moves_with_its_folder(tmp_path):
    fitted = fit_tokenizers(sections(), [Toy(30)], tmp_path / "run")
    stream = build(fitted["caption"], STREAMS, "x")
    draft = tmp_path / "draft"
    section = {**fitted["caption"], "tokenizer": stream.save_tokenizer(draft / "tokenizers" / "caption", root=draft)}
    assert section["tokenizer"] == {"name": "bpe", "path": "tokenizers/caption"}
    draft.rename(tmp_path / "bundle")
    moved = build(section, STREAMS, "x", root=tmp_path / "bundle")
    np.testing.assert_array_equal(moved("two 7", None)["data"], stream("two 7", None)["data"])
    assert TextStream().save_tokenizer(draft, root=draft) == {"name": "bytes"}


def test_questions_and_answers_share_a_tokenizer_that_knows_both(tmp_path):
    """Foils, which cost a picture to read, add no words."""
    text = {"name": "text", "tokenizer": {"name": "bpe", "size": 400}}
    wanted = {name: {**text, "field": name} for name in ("question", "answer", "foil")}
    source = World("train", seed=1, length=300)
    asked = Questions("train", seed=1, length=300)
    fitted = fit_tokenizers(wanted, [asked], tmp_path / "asked")
    assert len({str(section["tokenizer"]) for section in fitted.values()}) == 1
    question, answer = asked.truth(0)["question"], asked.truth(0)["answers"][0]
    stream = build(fitted["question"], STREAMS, "x")
    told = build(fit_tokenizers({"caption": text}, [source], tmp_path / "told")["caption"], STREAMS, "x")
    assert text_of(stream, question, None) == question and text_of(stream, answer, None) == answer
    spelt = {"question": wanted["question"], "answer": {**wanted["answer"]}}
    spelt["answer"]["tokenizer"] = {"name": "bpe", "size": 400, "captions": 20_000}
    shared = fit_tokenizers(spelt, [asked], tmp_path / "spelt")
    assert shared["question"]["tokenizer"] == shared["answer"]["tokenizer"], "equal wishes, however they are written"
    assert stream(question, None)["mask"].sum() < told(question, None)["mask"].sum(), "its own words are shorter"
