"""Whether a run folder may go on under this config."""

import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from mmjax.config import flatten
from mmjax.errors import UserError
from mmjax.storage import Home

# Keys that change where and how fast a run computes, or what is written down, but not what is learnt.
FREE = ("mesh.", "log.", "checkpoint.", "data.workers", "data.prefetch", "data.max_skip_rate", "max_bad_steps")


def jsonable(config: ConfigDict) -> dict[str, Any]:
    """A config as JSON holds it: tuples as lists."""
    return json.loads(json.dumps(config.to_dict()))


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The keys whose change alters the run, as `key: old → new`."""
    before, after = flatten(old), flatten(new)
    keys = [key for key in sorted(before.keys() | after.keys()) if not key.startswith(FREE)]
    missing = "(not set)"
    return [
        f"{key}: {before.get(key, missing)} → {after.get(key, missing)}"
        for key in keys
        if before.get(key, missing) != after.get(key, missing)
    ]


def check(home: Home, config: Mapping[str, Any]) -> None:
    """Compares with the config that the run folder's checkpoints were made under.

    Raises:
      UserError: a key that alters the run differs.
    """
    file = home.folder / "config.json"
    differences = changed(json.loads(file.read_text()), config) if file.exists() else []
    if differences:
        raise UserError(
            f"{home.remote} was started with another config: {'; '.join(differences)}; "
            "take another --workdir, or go on with the new values by --resume=force"
        )
