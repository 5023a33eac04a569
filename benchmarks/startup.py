"""How long `mmjax --help` takes: the median of ten starts of the installed command.

python benchmarks/startup.py
"""

import pathlib
import subprocess
import sys
import time

from common import write_result

COMMAND = pathlib.Path(sys.executable).with_name("mmjax")


def seconds(*arguments: str) -> float:
    """Wall time of one run of the command."""
    start = time.perf_counter()
    subprocess.run([COMMAND, *arguments], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    seconds("--help")  # the first start compiles the bytecode
    print(write_result("startup", {"help_seconds": [seconds("--help") for _ in range(10)]}))


if __name__ == "__main__":
    main()
