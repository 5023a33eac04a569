"""How far mmjax's numbers are from PyTorch's: every family, small and at full size, as its tests measure it.

    python benchmarks/weights.py
    python benchmarks/weights.py --table

Needs `pip install 'mmjax[torch]'`; half an hour on two cores. Runs tests/interop, where each family with random weights
is compared with PyTorch on the CPU, both in float32. `clip/full/gradients` is the error of CLIP's gradients at full
size; small models have several, of variants and of small activations. An error is the largest absolute difference
relative to the largest value; of gradients, those of each parameter, or 1e-3 of the tree's largest where that is more.
`--table` only writes the table of docs/weights.md anew from the result.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping

from common import RESULTS, write_result

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "weights.md"
TESTS = ("test_parity.py", "test_full_size.py", "test_open_clip_siglip.py", "test_vision_encoder_decoder.py")
QUANTITIES = ("blocks", "features", "logits", "gradients")
MARKERS = ("<!-- errors -->\n", "<!-- /errors -->")
LIBRARIES = {"hf": "`transformers`", "open_clip": "`open_clip`"}
FULL = "full "  # what a full-size model's name begins with in the record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="write the table alone, from the result that is there")
    args = parser.parse_args()
    if not args.table:
        with tempfile.TemporaryDirectory() as temporary:
            print(write_result("weights", grouped(measured(pathlib.Path(temporary) / "record.json"))))
    PAGE.write_text(with_table(PAGE.read_text(), table(RESULTS / "weights.json")))


def measured(record: pathlib.Path) -> dict[str, float]:
    """What the tests write down: {"clip legacy/gradients": 3e-6, "full clip/blocks": ...}. One that fails ends this."""
    tests = [f"tests/interop/{name}::test_same_numbers" for name in TESTS]
    command = [sys.executable, "-m", "pytest", *tests, "-m", "slow or not slow", "--timeout", "3600"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "MMJAX_RECORD": str(record)}, check=True)
    return json.loads(record.read_text())


def grouped(record: Mapping[str, float]) -> dict[str, list[float]]:
    """The same by family: {"clip/small/gradients": [...], "clip/full/gradients": [...]}."""
    out: dict[str, list[float]] = {}
    for key, value in record.items():
        name, _, quantity = key.partition("/")
        size = "full" if name.startswith(FULL) else "small"
        family = name.removeprefix(FULL).partition(" ")[0]
        out.setdefault(f"{family}/{size}/{quantity}", []).append(value)
    return out


def table(result: pathlib.Path) -> str:
    """Families, directions and their largest errors, small / full size, in Markdown."""
    from mmjax.interop import FAMILIES

    errors = json.loads(result.read_text())["measurements"]
    rows = [f"| family | library | in | out | {' | '.join(QUANTITIES)} |", "|---|---|---|---|---|---|---|---|"]
    for key, family in FAMILIES.items():
        cells = [
            " / ".join(_shown(errors, f"{key}/{size}/{what}") for size in ("small", "full")) for what in QUANTITIES
        ]
        cells = ["" if cell == " / " else cell for cell in cells]
        rows.append(
            f"| {family.name} (`{family.architecture}`) | {LIBRARIES[family.library]} | ✓ | ✓ | {' | '.join(cells)} |"
        )
    return "\n".join(rows) + "\n"


def _shown(errors: Mapping[str, Mapping[str, float]], key: str) -> str:
    return f"{errors[key]['max']:.1e}" if key in errors else ""


def with_table(page: str, rows: str) -> str:
    """The page with these rows between its markers."""
    head, _, rest = page.partition(MARKERS[0])
    return f"{head}{MARKERS[0]}\n{rows}\n{MARKERS[1]}{rest.partition(MARKERS[1])[2]}"


if __name__ == "__main__":
    main()
