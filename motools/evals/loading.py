"""Making a task from its name and arguments, inside a worker process.

Everything here imports Inspect, which takes seconds: only workers do.
"""

from __future__ import annotations

import ast
import inspect
import os
import traceback
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

from motools.configs import unknown_name
from motools.errors import EvaluationError
from motools.evals.dependencies import is_installed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from inspect_ai import Task


class Arguments(dict[str, Any]):
    """What Inspect records of a call, with the call as it was.

    Inspect's own record turns what JSON cannot hold into names; two scorers
    that were given different functions of one name would look the same.

    Attributes:
        factory: the function that was called, without its decorator.
        raw: its arguments by name, defaults included.
    """

    factory: Callable[..., Any]
    raw: dict[str, Any]


def prepare() -> None:
    """Import Inspect and have it keep the arguments of solvers and scorers made from now on.

    Raises:
        EvaluationError: this version of Inspect does not work as expected.
    """
    import inspect_ai._eval.loader
    from inspect_ai._util import registry

    extract = getattr(registry, "extract_named_params", None)
    if extract is None:
        raise EvaluationError(
            f"Inspect {inspect_ai.__version__} is not supported: it records calls in another way; "
            "install a version that motools names in its requirements"
        )

    def extracting(factory: Callable[..., Any], defaults: bool, /, *args: Any, **kw: Any) -> Any:
        arguments = Arguments(extract(factory, defaults, *args, **kw))
        arguments.factory = factory
        bound = inspect.signature(factory).bind(*args, **kw)
        bound.apply_defaults()
        arguments.raw = dict(bound.arguments)
        return arguments

    registry.extract_named_params = extracting
    SourceFileLoader.get_code = _fresh_code  # type: ignore[method-assign,assignment]


def load_task(name: str, arguments: Mapping[str, Any]) -> Task:
    """The task of this name.

    Args:
        name: ``/path/to/tasks.py@name``, ``/path/to/tasks.py`` or ``package/task``.
        arguments: for the task's function.

    Raises:
        EvaluationError: there is no such task, its file is wrong, it takes other
            arguments, or it raised; with the line of the user's code.
    """
    file, _, function = name.partition("@") if is_file(name) else ("", "", name)
    with _explained(name):
        if not file:
            return _create(_registered(name), name, arguments)
        path = Path(file)
        functions = _tasks_in(path)
        if not function:
            function = _only(functions, path)
        if function not in functions:
            raise EvaluationError(unknown_name(name, function, functions).replace("field", "task"))
        return _load_from_file(path, function, arguments)


def is_file(name: str) -> bool:
    """Whether a task's name names a file, rather than a task in a package."""
    return name.partition("@")[0].endswith(".py")


def _load_from_file(path: Path, function: str, arguments: Mapping[str, Any]) -> Task:
    from inspect_ai._eval.loader import create_file_tasks, load_file_tasks

    load_file_tasks(path)
    _check_arguments(_registered(function), f"{path.name}@{function}", arguments)
    return create_file_tasks(path, [function], dict(arguments))[0]


def _create(factory: Any, name: str, arguments: Mapping[str, Any]) -> Task:
    _check_arguments(factory, name, arguments)
    task: Task = factory(**arguments)
    return task


def _registered(name: str) -> Any:
    from inspect_ai._util.registry import registry_find, registry_info, registry_lookup

    factory = registry_lookup("task", name)
    if factory is None:
        known = [registry_info(one).name for one in registry_find(lambda info: info.type == "task")]
        what = unknown_name(name, name, known or ["none"]).replace("field", "task")
        raise EvaluationError(f"{what}; for a task in a file write file.py@name")
    return factory


def _check_arguments(factory: Any, name: str, arguments: Mapping[str, Any]) -> None:
    parameters = inspect.signature(factory).parameters
    for parameter in parameters.values():
        required = parameter.default is parameter.empty and parameter.kind not in _VARIADIC
        if required and parameter.name not in arguments:
            raise EvaluationError(
                f"{name}: needs the argument {parameter.name!r}; "
                f"give EvalConfig(task_args={{{parameter.name!r}: ...}})"
            )
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return
    for argument in arguments:
        if argument not in parameters:
            what = unknown_name(f"{name}.{argument}", argument, list(parameters))
            raise EvaluationError(what.replace("field", "task argument"))


def _tasks_in(path: Path) -> list[str]:
    """The names of the tasks that a file defines."""
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise EvaluationError(f"{path}: there is no such task file") from None
    except SyntaxError as problem:
        line = (problem.text or "").strip()
        raise EvaluationError(
            f"{path}, line {problem.lineno}: SyntaxError: {problem.msg}: {line}"
        ) from None
    # Inspect, too, finds only plain functions with a plain decorator.
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    names = [_task_name(one, node.name) for node in functions for one in node.decorator_list]
    return [name for name in names if name is not None]


def _task_name(decorator: ast.expr, default: str) -> str | None:
    call = decorator if isinstance(decorator, ast.Call) else None
    target = call.func if call else decorator
    if not isinstance(target, ast.Name) or target.id != "task":
        return None
    for keyword in call.keywords if call else ():
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return str(keyword.value.value)
    return default


def _only(functions: list[str], path: Path) -> str:
    if len(functions) == 1:
        return functions[0]
    if not functions:
        raise EvaluationError(f"{path}: has no function decorated with @task")
    raise EvaluationError(
        f"{path}: has several tasks; name one, as in {path.name}@{functions[0]} "
        f"(there are {', '.join(functions)})"
    )


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn what the user's code raises into one line that says where."""
    try:
        yield
    except EvaluationError:
        raise
    except SyntaxError as problem:
        line = (problem.text or "").strip()
        raise EvaluationError(
            f"{problem.filename}, line {problem.lineno}: SyntaxError: {problem.msg}: {line}"
        ) from problem
    except Exception as problem:
        frames = traceback.extract_tb(problem.__traceback__)
        inner = [frame for frame in frames if not _is_library(frame.filename)]
        place = inner[-1] if inner else frames[-1]
        raise EvaluationError(
            f"task {name} cannot be made: {place.filename}, line {place.lineno}, "
            f"in {place.name}: {place.line}: {type(problem).__name__}: {problem}"
        ) from problem


_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_HERE: Final = os.path.dirname(os.path.abspath(__file__))
_compiled = SourceFileLoader.get_code


def _is_library(path: str) -> bool:
    return path.startswith(("<", _HERE)) or is_installed(path)


def _fresh_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
    """Compile first-party source each time.

    Compiled files are matched by size and second: an edit within the second
    would run as the code from before it.
    """
    path = loader.get_filename(fullname)
    if is_installed(os.path.abspath(path)):
        return _compiled(loader, fullname)
    return loader.source_to_code(loader.get_data(path), path)
