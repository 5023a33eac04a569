"""`mmjax VERB ...`: dispatch only. A verb's work, and its arguments, live in its own room.

A verb's module defines `add_arguments(parser)` and `run(args) -> exit code`, and is imported only when its verb is
called, so that `mmjax --help` needs neither JAX nor NumPy. A verb that lets any config key be set from the command
line says so with `parser.set_defaults(overrides={})` and finds `--config.a.b=1` as `args.overrides["a.b"] == "1"`.

Exit codes: 0 done, 1 failed, 2 wrong use, 130 interrupted.
"""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from mmjax import __version__
from mmjax.errors import RunError, UserError, nearest

# verb: (module, what it does)
VERBS = {
    "train": ("mmjax.training.verb", "train a model from a config, or resume a run"),
    "plan": ("mmjax.planning.verb", "tell what a run needs and how long it takes, before renting chips"),
    "evaluate": ("mmjax.evaluation.verb", "score a model on data"),
    "embed": ("mmjax.inference.embed", "embed a data set into sharded files"),
    "search": ("mmjax.inference.search", "find items by text, picture or id"),
    "classify": ("mmjax.inference.classify", "tell which of your labels a picture shows"),
    "caption": ("mmjax.inference.caption", "write captions of pictures"),
    "ask": ("mmjax.inference.ask", "answer a question about a picture"),
    "import": ("mmjax.exchange.imports", "make a bundle of PyTorch weights"),
    "export": ("mmjax.exchange.exports", "hand a model to transformers or open_clip"),
    "average": ("mmjax.training.average", "average the parameters of models of one architecture"),
    "report": ("mmjax.report.verb", "make the HTML page of a run"),
    "data": ("mmjax.data.verbs", "check, convert or describe data; train a tokenizer"),
    "launch": ("mmjax.launch.verb", "run on several processes, here or on a cluster"),
}

OVERRIDE = "--config."


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line and name the nearest option. Subparsers are of this class too."""

    def __init__(self, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[override]  # argparse types it as overloads
        """As argparse's, but nothing stays unknown: an override is kept, anything else is an error."""
        namespace, unknown = super().parse_known_args(args, namespace)
        overrides = getattr(namespace, "overrides", None)
        for text in unknown:
            if overrides is None or not text.startswith(OVERRIDE):
                options = re.findall(r"(?<![\w-])--[\w-]+", self.format_help())
                self.error(f"unknown argument {text}{nearest(text.partition('=')[0], sorted(set(options)))}")
            key, equals, value = text.removeprefix(OVERRIDE).partition("=")
            if not (key and equals):
                self.error(f"{text}: write it as {OVERRIDE}key=value")
            namespace.overrides = overrides = {**overrides, key: value}
        return namespace, []

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb. Returns the exit code of the process."""
    if "MMJAX_LAUNCHER" in os.environ:
        from mmjax.launch.orphans import stop_with_launcher

        stop_with_launcher()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    verb = arguments[0] if arguments else "--help"
    if verb in ("--help", "-h", "help"):
        print(overview())
        return 0 if arguments else 2
    if verb == "--version":
        print(f"mmjax {__version__}")
        return 0
    if verb not in VERBS:
        print(f"mmjax: unknown verb {verb}{nearest(verb, list(VERBS))}; verbs: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    return call(verb, arguments[1:])


def call(verb: str, arguments: Sequence[str]) -> int:
    """Imports the verb's module, parses its arguments and runs it.

    A place that cannot be read or written is the user's to mend, wherever it is met.
    """
    name, summary = VERBS[verb]
    try:
        module = importlib.import_module(name)
        parser = Parser(prog=f"mmjax {verb}", description=module.__doc__ or summary)
        module.add_arguments(parser)
        return module.run(parser.parse_args(arguments))
    except UserError as error:
        print(f"mmjax {verb}: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"mmjax {verb}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.filename is None:
            raise
        print(f"mmjax {verb}: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"mmjax {verb}: interrupted", file=sys.stderr)
        return 130


def overview() -> str:
    """What `mmjax --help` prints."""
    verbs = "\n".join(f"  {verb:<9} {summary}" for verb, (_, summary) in VERBS.items())
    return f"""usage: mmjax VERB [...]

Pretrain, compare and ship multimodal models in JAX and Flax.

{verbs}

`mmjax VERB --help` tells a verb's arguments. Example:
  mmjax train --config configs/quickstart.py --workdir runs/quickstart"""


if __name__ == "__main__":
    sys.exit(main())
