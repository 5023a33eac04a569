"""The kinds of trouble that are not bugs: a user's mistake, a run that must stop, a bad item in the data."""

from collections.abc import Sequence


class UserError(Exception):
    """Wrong use: one line that names the file or key, what is wrong and what to do. The command line exits with 2."""


class RunError(Exception):
    """A run that cannot go on, though started rightly: it diverged, or too much of its data is bad. Exits with 1."""


class BadItem(Exception):
    """One item cannot be used. The loader turns it into a `valid=False` row and a line in `skipped.jsonl`."""


def nearest(name: str, names: Sequence[str]) -> str:
    """`; did you mean ...?` for a mistyped name, or nothing."""
    import difflib  # 5 ms that no successful command needs

    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else ""
