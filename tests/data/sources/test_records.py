"""ArrayRecord and parquet: what damage costs, what is refused."""

import json

import pytest

from mmjax.data.convert import convert
from mmjax.data.sources import open_source
from mmjax.errors import UserError
from tests.my_lab.sources import Shades

from . import made
from .test_table import reasons


@pytest.fixture
def converted(tmp_path):
    return tmp_path / made.array_record(tmp_path)


def test_a_damaged_record_is_one_bad_item(tmp_path):
    source = open_source({"path": "tests.my_lab.sources:Shades", "length": 400})
    convert(source, tmp_path / "out", workers=0)
    (file,) = (tmp_path / "out").glob("*.array_record")
    data = bytearray(file.read_bytes())
    place = data.index(b"streams", data.index(b"truth"))  # within the second record
    data[place : place + 7] = b"\0" * 7
    file.write_bytes(data)
    found = reasons(open_source(tmp_path / "out"))
    bad = [i for i, reason in enumerate(found) if reason]
    assert len(found) == 400 and len(bad) == 1
    assert found[bad[0]].startswith("the record is damaged")


def test_all_shards_must_be_there(converted):
    (converted / "converted-00001-of-00003.array_record").unlink()
    with pytest.raises(UserError, match=r"converted-00001-of-00003.array_record: no such file \(1 of 3 shards"):
        open_source(converted)


def test_a_truncated_file_is_refused(converted):
    file = converted / "converted-00001-of-00003.array_record"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match="not a whole ArrayRecord file"):
        open_source(converted)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": 2, "class_names": []}, "format 2; this mmjax reads up to 1: upgrade it"),
        ({}, "damaged"),
        ([], "damaged"),
    ],
)
def test_the_description_is_checked(converted, content, message):
    (converted / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        open_source(converted)


def test_records_of_others_are_said_to_be(tmp_path):
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(tmp_path / "x.array_record"), "group_size:1")
    writer.write(b"\x08\x01")
    writer.close()
    with pytest.raises(UserError, match=r"no row can be read: the record"):
        open_source(tmp_path / "x.array_record")


def test_what_was_true_of_an_item_is_true_of_its_record(tmp_path):
    world = open_source({"path": "world:scenes/val", "length": 6, "size": 32})
    convert(world, tmp_path / "out", shards=2, workers=0)
    source = open_source(tmp_path / "out")
    for index in range(6):
        ours, theirs = source[index], world[index]
        assert ours.streams["foil"] == theirs.streams["foil"]
        assert json.dumps(ours.truth) == json.dumps({k: theirs.truth[k] for k in ours.truth})
        assert ours.truth.keys() == theirs.truth.keys()


def test_another_caption_field_leaves_the_foils_behind(tmp_path):
    world = open_source({"path": "world:scenes/val", "length": 4})
    convert(world, tmp_path / "out", workers=0)
    source = open_source({"path": str(tmp_path / "out"), "caption": "foils.colour"})
    assert set(source[0].streams) == {"image", "caption"}


class Named(Shades):
    class_names = ("one", "two")


def test_class_names_travel(tmp_path):
    convert(Named(length=2), tmp_path / "out", workers=0)
    assert open_source(tmp_path / "out").class_names == ("one", "two")


def test_parquet_cells_that_are_bad(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "a.png").write_bytes(made.png("a"))
    cells = [
        {"bytes": made.png("a"), "path": None},
        None,
        {"bytes": None, "path": "a.png"},
        {"bytes": None, "path": "b"},
    ]
    text = pa.array([b"one", b"two", b"\xff", b"four"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"image": cells, "text": text}), tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    assert reasons(source) == [None, "image holds no image: NoneType", "caption is not UTF-8", "no such file: b"]
    assert source.id(1) == "x.parquet:1"


def test_a_truncated_parquet_file_is_refused(tmp_path):
    made.parquet(tmp_path)
    file = tmp_path / "part-1.parquet"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(UserError, match="part-1.parquet: not a whole parquet file"):
        open_source(tmp_path)


def test_a_damaged_row_group_costs_its_rows_alone(tmp_path):
    import pyarrow.parquet as pq

    made.parquet(tmp_path)
    file = tmp_path / "part-0.parquet"
    start = pq.ParquetFile(file).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(file.read_bytes())
    data[start : start + 12] = b"\xff" * 12
    file.write_bytes(data)
    found = reasons(open_source(tmp_path))
    assert [r is None for r in found] == [True, True, False, True]
    assert found[2].startswith("row group 1 of part-0.parquet is damaged")
