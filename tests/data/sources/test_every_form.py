"""The same pairs come out of every form, whole and filtered, here and in a process to which the source was sent."""

import pickle

import pytest

from mmjax.data.decode import decode
from mmjax.data.sources import open_source
from mmjax.errors import UserError

from . import made


def content(source) -> list[tuple]:
    out = []
    for index in range(len(source)):
        example = source[index]
        captions = source.captions(index)
        assert example.streams["caption"] == captions == example.truth["captions"]
        assert source.truth(index) == example.truth
        assert source.id(index) == example.id
        assert source.caption_faults(index) == ()
        out.append((captions, decode(example.streams["image"]).tolist()))
    assert len({source.id(i) for i in range(len(source))}) == len(source)
    return out


def expected(split: str | None = None) -> list[tuple]:
    return [(tuple(c), made.pixels(k).tolist()) for k, c, s in made.PAIRS if split in (None, s)]


@pytest.mark.parametrize("form", made.FORMS)
def test_all_pairs(form, tmp_path):
    source = open_source(form(tmp_path))
    assert content(source) == expected()
    assert content(pickle.loads(pickle.dumps(source))) == expected()


@pytest.mark.parametrize("form", [form for form in made.FORMS if form not in made.WITHOUT_SPLIT])
def test_where_keeps_rows(form, tmp_path):
    path = form(tmp_path)
    source = open_source({"path": path, "where": {"split": "train"}})
    assert content(source) == expected("train")
    assert source.truth(0)["split"] == "train"
    with pytest.raises(UserError, match="no row has"):
        open_source({"path": path, "where": {"split": "trian"}})
    with pytest.raises(UserError, match="did you mean split"):
        open_source({"path": path, "where": {"spilt": "train"}})


@pytest.mark.parametrize("form", made.FORMS)
def test_a_wrong_caption_field_names_the_fields(form, tmp_path):
    with pytest.raises(UserError, match=r"no field 'capton' for caption.*fields: "):
        open_source({"path": form(tmp_path), "caption": "capton"})


@pytest.mark.parametrize("form", made.FORMS)
def test_unknown_options_are_refused(form, tmp_path):
    with pytest.raises(UserError, match=r"data.train.captoin; did you mean caption"):
        open_source({"path": form(tmp_path), "captoin": "x"}, "data.train")
