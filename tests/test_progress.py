"""The progress bar shows its fields in a terminal, and nothing at all elsewhere."""

import os
import subprocess
import sys

import pytest

from mmjax import progress

CODE = """
from mmjax import progress
with progress.bar("training", 20, done=5) as advance:
    for _ in range(15):
        advance(1, loss=0.12345, examples_per_second=1234.5)
    print("a line meanwhile")
"""


def test_nothing_is_shown_where_there_is_no_terminal():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout == "a line meanwhile\n" and done.stderr == ""


def test_a_terminal_shows_count_and_fields():
    pty = pytest.importorskip("pty", reason="pseudo-terminals exist on POSIX alone")
    chunks = []

    def read(descriptor):
        chunks.append(os.read(descriptor, 4096))
        return chunks[-1]

    os.environ["COLUMNS"] = "120"
    try:
        assert pty.spawn([sys.executable, "-c", CODE], read, lambda _: b"") == 0
    finally:
        del os.environ["COLUMNS"]
    text = b"".join(chunks).decode()
    for part in ("training", "20/20", "loss 0.1235", "examples/s 1,234", "a line meanwhile"):
        assert part in text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("loss", 0.123456, "loss 0.1235"),
        ("loss", 1e-7, "loss 1e-07"),
        ("loss", float("nan"), "loss nan"),
        ("images_per_second", 31234.5, "images/s 31,234"),
        ("skipped", 12345, "skipped 12,345"),
        ("stage", "decode", "stage decode"),
    ],
)
def test_fields_are_short(name, value, text):
    assert progress.shown(name, value) == text
