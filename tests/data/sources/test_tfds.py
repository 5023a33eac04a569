"""TFDS through `data_source`, in a process of its own that must not import TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import pickle, sys
from mmjax.data.decode import decode
from mmjax.data.sources import open_source
from mmjax.errors import UserError
from tests.data.sources import made, tiny_tfds

folder = sys.argv[1]
tiny_tfds.Tiny(data_dir=folder, file_format="array_record").download_and_prepare()
section = {"path": "tfds:tiny/train", "caption": "captions.text", "data_dir": folder}
source = pickle.loads(pickle.dumps(open_source(section)))
found = {source.captions(i): (decode(source[i].streams["image"]).tolist(), source.truth(i)["label"]) for i in range(4)}
assert found == {tuple(c): (made.pixels(k).tolist(), int(s == "train")) for k, c, s in made.PAIRS}, found
assert len(open_source({**section, "where": {"label": 1}})) == 3
assert len(open_source({**section, "path": "tfds:tiny/train[:2]"})) == 2

wrong = {"path": "tfds:tiny/trian"}, {"path": "tfds:tinny/train"}, {"caption": "caption"}, {"data_dir": "/nowhere"}
for change in wrong:
    try:
        open_source({**section, **change})
        raise SystemExit(f"{change} was accepted")
    except UserError as error:
        assert "\\n" not in str(error)
        print(error)
assert "tensorflow" not in sys.modules, "TensorFlow was imported"
"""


def test_tfds_without_tensorflow(tmp_path):
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "NO_GCE_CHECK": "true"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.strip().splitlines()[-4:]
    assert lines[0].startswith("tfds:tiny/trian: ") and "prepare it once" in lines[0]
    assert lines[1].startswith("tfds:tinny/train: ") and "not found" in lines[1]
    assert "no field 'caption' for caption; did you mean captions?" in lines[2]
    assert "prepare it once" in lines[3]
