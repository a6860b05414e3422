"""The classes that the settings of a checkpoint, or of a config that was found beside it, may name.

A setting names a class by its import path, and whoever writes a file chooses the path. Before such settings are parsed
they are walked, without importing anything that is not trusted: :func:`require_trusted`. While they are parsed, the
parser itself resolves no other path: :func:`trusted_imports`.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from jsonargparse import _common, set_parsing_settings

from dssm_lightning.utils.bounded_values import DEEPEST, require_bounded
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.renamed import renew
from dssm_lightning.utils.yaml_files import load_yaml

PACKAGES = (
    "dssm_lightning.features",
    "dssm_lightning.data.sources",
    "dssm_lightning.data.splits",
    "dssm_lightning.data.negatives",
    "dssm_lightning.models",
    "dssm_lightning.losses",
    "dssm_lightning.training.callbacks",
    "dssm_lightning.training.distributed",
    "dssm_lightning.training.optimizers",
    "dssm_lightning.training.teachers",
    "torch.nn",
    "torch.optim",
    "torchvision.transforms",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.plugins",
    "lightning.pytorch.profilers",
    "lightning.pytorch.strategies",
)
"""Packages whose classes every file may name. Their functions may not be named."""
ROOT = "dssm_lightning"
"""The package that exports many of these classes under shorter paths."""
MOST, LONGEST = 2_000, 10_000
"""Values that settings may have, and characters of a text: the parser takes time with the square of both."""

_MODULES: ContextVar[tuple[str, ...]] = ContextVar("trusted modules", default=())


@contextmanager
def trusting(modules: Sequence[str]) -> Iterator[None]:
    """Trust modules of the user's own, and what they contain, as ``--trust`` and ``trust=`` do.

    Raises:
        UserError: a name that is no module's.

    Example:
        >>> with trusting(["my_shop"]):
        ...     require_trusted({"loss": {"class_path": "my_shop.losses.Margin"}}, "shop.ckpt")
        set()
    """
    for module in modules:
        if not _is_import_path(f"{module}.x"):
            raise UserError(f"trust {module!r}: it must be the name of a module, such as my_shop or my_shop.losses")
    token = _MODULES.set((*_MODULES.get(), *modules))
    try:
        yield
    finally:
        _MODULES.reset(token)


def require_trusted(settings: Any, source: str) -> set[str]:
    """Refuse settings that name a class that is not trusted. Nothing that is not trusted is imported or called.

    Trusted are the classes of :data:`PACKAGES`, everything in the modules of :func:`trusting`, and classes that have
    been imported already and inherit from a trusted class.

    Args:
        settings: plain values, such as the hyper-parameters of a checkpoint.
        source: the file, for the message.

    Returns:
        the import paths of the classes, except those of trusted modules.

    Raises:
        UserError: another class, or a function. The message names it and the way to trust it.

    Example:
        >>> require_trusted({"optimizer": {"class_path": "torch.optim.Adam"}}, "best.ckpt")
        {'torch.optim.Adam'}
        >>> require_trusted({"loss": {"class_path": "os.system"}}, "best.ckpt")
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: best.ckpt names os.system, which no setting of a model or of data \
needs: the file is hostile
    """
    texts = [value for value in require_bounded(settings, source, MOST) if isinstance(value, str)]
    if max(map(len, texts), default=0) > LONGEST or sum(map(len, texts)) > 10 * LONGEST:
        raise UserError(f"{source}: settings hold a text of more than {LONGEST:,} characters, or too many of them")
    found: set[str] = set()
    _walk(renew(settings), source, found, 0)
    return found


@contextmanager
def trusted_imports(settings: Any, source: str, given: Any = None) -> Iterator[None]:
    """Walk settings as :func:`require_trusted` does; within the block, parsers resolve only trusted names.

    The walk knows where a class is named by the key ``class_path``. The parser also takes a bare import path, by the
    type of an argument: its own list of denied paths holds there.

    Args:
        settings: plain values.
        source: the file, for the message.
        given: settings that the user has given, whose classes may be resolved as well.

    Raises:
        UserError: as for :func:`require_trusted`.
    """
    exported = {f"{ROOT}.{name}" for name in import_module(ROOT).__all__}
    extra = require_trusted(settings, source) | _class_paths(given) | exported
    before = dict(_common.parsing_settings)  # jsonargparse has no public way to take a policy back
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=[*PACKAGES, *_MODULES.get(), *extra])
    try:
        yield
    except Exception as error:
        if denied := re.search(r"Importing '([\w.]+)' is not allowed", str(error)):
            raise _refusal(denied[1], source) from error
        raise
    finally:
        _common.parsing_settings.update(before)


def _walk(value: Any, source: str, found: set[str], depth: int) -> None:
    if depth > DEEPEST:  # a text that holds YAML in which a text holds YAML, and so on
        raise UserError(f"{source}: values are nested deeper than {DEEPEST} levels")
    if isinstance(value, Mapping):
        for key, item in value.items():
            if isinstance(item, str) and str(key).rpartition(".")[2] == "class_path":
                _require(item, source, found)
            _walk(item, source, found, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _walk(item, source, found, depth + 1)
    elif isinstance(value, str):
        _walk_text(value, source, found, depth)


def _walk_text(text: str, source: str, found: set[str], depth: int) -> None:
    """Walk a text: it may be an import path, and the parser reads it as YAML where a class is expected."""
    if _within(text, (*PACKAGES, ROOT, *_MODULES.get())) or _is_imported(text):
        _require(text, source, found)
    try:
        read = load_yaml(text)
    except Exception:  # it is no YAML, or YAML that the parser refuses as well
        return
    if read != text:
        require_bounded(read, source, MOST)
        _walk(read, source, found, depth + 1)


def _require(path: str, source: str, found: set[str]) -> None:
    if "." not in path:
        return  # the parser looks such a name up among the classes that are imported
    if _within(path, _MODULES.get()):
        return
    if _within(path, PACKAGES) or path.rpartition(".")[0] == ROOT:
        if not _is_package_class(path):
            raise UserError(f"{source} names {path}, which is not a class that settings may name")
        found.add(path)
        return
    if not _is_imported(path):
        raise _refusal(path, source)
    found |= {path, _defined_as(_loaded(path))}


def _refusal(path: str, source: str) -> UserError:
    root = path.partition(".")[0]
    if root in {*sys.stdlib_module_names, *(package.partition(".")[0] for package in PACKAGES)}:
        return UserError(f"{source} names {path}, which no setting of a model or of data needs: the file is hostile")
    return UserError(
        f"{source} names {path}, which is not trusted and was not imported; if you trust its author, allow it by "
        f"--trust {root}, or trust=[{root!r}] in Python"
    )


def _is_package_class(path: str) -> bool:
    """Return whether a path within the trusted packages is one of their classes: a module also holds what it uses."""
    module, _, name = path.rpartition(".")
    try:
        value = getattr(import_module(module), name, None)
    except ImportError:
        return False
    return inspect.isclass(value) and _within(_defined_as(value), PACKAGES)


def _is_imported(path: str) -> bool:
    """Return whether a path is an imported class that inherits from a trusted one. Nothing is imported for it."""
    value = _loaded(path)
    return inspect.isclass(value) and any(_within(_defined_as(base), PACKAGES) for base in value.__mro__[1:])


def _loaded(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return vars(sys.modules[module]).get(name) if module in sys.modules else None


def _defined_as(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _is_import_path(text: str) -> bool:
    return "." in text and all(part.isidentifier() for part in text.split("."))


def _within(path: str, modules: Sequence[str]) -> bool:
    return _is_import_path(path) and any(path.startswith(f"{module}.") for module in modules)


def _class_paths(settings: Any) -> set[str]:
    """Return the paths that parsed settings name, and where their classes are defined."""
    if isinstance(settings, Mapping):
        paths = {value for key, value in settings.items() if key == "class_path" and _is_import_path(str(value))}
        return set().union(paths, *map(_class_paths, settings.values()), *({_defined(path)} for path in paths))
    return set().union(*map(_class_paths, settings)) if isinstance(settings, list | tuple) else set()


def _defined(path: str) -> str:
    kind = _loaded(path)
    return _defined_as(kind) if inspect.isclass(kind) else path
