"""Sweeps in files: YAML 1.2, in which ``1e-4`` is a number."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from motools.errors import ConfigError
from motools.sweeps.sweep import Sweep

TEMPLATE: Final = """\
# A sweep: what its cells have in common, and what varies.
#   motools sweep plan {file}      what there is to do, what it takes, and why
#   motools sweep run {file}       do it; what is in the cache is not done again
#   motools sweep results {file}   a table of what came out
name: {name}

# What every cell starts from. Relative paths start at this file.
recipe:
  dataset: data.jsonl            # or {{hf: org/name, revision: main, split: train}}
  fine_tune:                     # the fields of FineTuneConfig
    base_model: tiny             # or a directory, or org/name@revision
    learning_rate: 1e-3
    epochs: 3
  evaluate:                      # names of your own; each has the fields of EvalConfig
    greets: {{task: tasks.py@greets}}
  # backend: local
  # model: tiny                  # instead of fine_tune: evaluate a base model

# Every combination of these values is a cell.
grid:
  fine_tune.learning_rate: [1e-4, 1e-3]
  # dataset: [data.jsonl, other.jsonl]

# Short for a grid over fine_tune.seed.
seeds: [0, 1, 2]

# Values that go together, each with every combination of the grid.
# variants:
#   - {{fine_tune.epochs: 3, fine_tune.batch_size: 8}}
#   - {{fine_tune.epochs: 6, fine_tune.batch_size: 16}}

# Further cells, each from the recipe alone.
# also:
#   - {{fine_tune: null, model: tiny}}      # the base model, for comparison

# What holds only for some cells.
# rules:
#   - when: {{dataset: other.jsonl}}
#     then: {{fine_tune.epochs: 6}}

# Cells to leave out; a list stands for any of its items.
# exclude:
#   - {{fine_tune.learning_rate: 1e-4, fine_tune.seed: [1, 2]}}

# Independent repeats of every cell.
replicates: 1
"""


def read(path: str | os.PathLike[str]) -> Sweep:
    """The sweep of a YAML file.

    Raises:
        ConfigError: there is no such file, it is not YAML, or no sweep; the
            message has the file and, as far as it is known, the line.
    """
    file = Path(path)
    from ruamel.yaml.error import YAMLError

    try:
        values = _loaded(file.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigError(
            f"{file}: {problem.strerror}; `motools sweep init {file}` writes one to start from"
        ) from problem
    except (YAMLError, ValueError) as problem:
        raise ConfigError(f"{file}: not YAML: {' '.join(str(problem).split())}") from problem
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: a sweep is a mapping with 'recipe' in it")
    try:
        return Sweep.from_mapping({"name": file.stem, **values}, file.parent)
    except ConfigError as problem:
        raise ConfigError(f"{file}: {problem}") from problem


def _loaded(text: str) -> Any:
    """What YAML 1.2 has in it: a date is text there, and nothing is inside itself.

    Raises:
        YAMLError: it is not YAML.
        ValueError: something is inside itself.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import SafeConstructor

    class Constructor(SafeConstructor):
        """Without the dates of YAML 1.1."""

    Constructor.add_constructor("tag:yaml.org,2002:timestamp", Constructor.construct_yaml_str)
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = Constructor
    values = yaml.load(text)
    _refuse_loops(values, ())
    return values


def _refuse_loops(value: Any, around: tuple[int, ...]) -> None:
    if not isinstance(value, (dict, list)):
        return
    if id(value) in around:
        raise ValueError("an anchor stands for something that it is inside of")
    for inner in value.values() if isinstance(value, dict) else value:
        _refuse_loops(inner, (*around, id(value)))


def write_template(path: str | os.PathLike[str]) -> None:
    """Write a sweep to start from, with a comment on everything.

    Raises:
        ConfigError: the file is there already, and is left as it is; or it cannot be written.
    """
    file = Path(path)
    try:
        with file.open("x", encoding="utf-8") as stream:
            # A name in quotes is one in YAML, whatever its signs.
            stream.write(
                TEMPLATE.format(file=file.name, name=json.dumps(file.stem, ensure_ascii=False))
            )
    except FileExistsError:
        raise ConfigError(f"{file} is there already; remove it, or give another name") from None
    except OSError as problem:
        raise ConfigError(f"{file}: cannot be written: {problem.strerror}") from problem
