"""Checkpoints that try to run code: a module that leaves a mark when it is imported or called, and its many names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

MODULE = "hostile_module"
SOURCE = """
from pathlib import Path
MARK = Path(__file__).with_name("mark")
MARK.write_text("imported")

from collections.abc import Callable

def run(*args, **kwargs):
    MARK.write_text("called")

def annotated(*args, **kwargs) -> "dssm_lightning.losses.Loss":
    MARK.write_text("called")

class Loss:
    def __init__(self, *args, **kwargs):
        MARK.write_text("made")
"""


def write_module(folder: Path) -> Path:
    """Write the module into a folder, and return the file that exists once it has been imported or called."""
    (folder / f"{MODULE}.py").write_text(SOURCE, encoding="utf-8")
    return folder / "mark"


def kinds(folder: Path) -> dict[str, Callable[[dict[str, Any]], None]]:
    """Changes of a checkpoint's hyper-parameters, by name; each runs code of its author if it is not refused."""
    shell = {"command": f"touch {folder / 'mark'}"}
    named: dict[str, Any] = {
        "os.system": {"class_path": "os.system", "init_args": shell},
        "os.system in dict_kwargs": {"class_path": "os.system", "dict_kwargs": shell},
        "posix.system": {"class_path": "posix.system", "init_args": shell},
        "subprocess.Popen": {"class_path": "subprocess.Popen", "init_args": {"args": shell["command"], "shell": True}},
        "runpy.run_path": {"class_path": "runpy.run_path", "init_args": {"path_name": str(folder / f"{MODULE}.py")}},
        "runpy.run_module": {"class_path": "runpy.run_module", "init_args": {"mod_name": MODULE}},
        "builtins.exec": {"class_path": "builtins.exec", "init_args": {"source": f"import {MODULE}"}},
        "importlib": {"class_path": "importlib.import_module", "init_args": {"name": MODULE}},
        "torch.hub": {"class_path": "torch.hub.load", "init_args": {"repo_or_dir": str(folder), "model": "run"}},
        "cpp_extension": {"class_path": "torch.utils.cpp_extension.load", "init_args": {"name": "x", "sources": []}},
        "function": {"class_path": f"{MODULE}.run"},
        "annotated function": {"class_path": f"{MODULE}.annotated"},
        "class": {"class_path": f"{MODULE}.Loss"},
        "missing class": {"class_path": f"{MODULE}.NoSuchClass"},
        "bare function": f"{MODULE}.run",
        "bare class": f"{MODULE}.Loss",
        "bare os.system": "os.system",
        "text of YAML": f"class_path: {MODULE}.run",
        "text of JSON": f'{{"class_path": "{MODULE}.run"}}',
        "text with escapes": f'{{"cl\\u0061ss_path": "{MODULE}.run"}}',
        "quoted text": f'"{MODULE}.run"',
        "text with blanks": f"  {MODULE}.run  ",
        "list": [{"class_path": f"{MODULE}.run"}],
        "through a trusted module": {"class_path": "dssm_lightning.data.sources.download.urlopen"},
        "function of a trusted module": {"class_path": "dssm_lightning.utils.atomic_files.atomic_write"},
        "command line": {"class_path": "dssm_lightning.cli.main.main", "init_args": {"args": ["--help"]}},
        "function of torch.nn": {"class_path": "torch.nn.init.uniform_"},
        "module of torch": {"class_path": "torch.nn.modules.module.functools"},
        "partial through torch": {"class_path": "torch.nn.modules.module.partial", "init_args": {"func": "os.system"}},
        "file of settings": str(folder / "settings.yaml"),
    }
    (folder / "settings.yaml").write_text(f"class_path: {MODULE}.run\n", encoding="utf-8")
    changes: dict[str, Callable[[dict[str, Any]], None]] = {
        f"optimizer: {name}": _setting("optimizer", value) for name, value in named.items()
    }
    plain = {"class_path": f"{MODULE}.run"}
    for place in ("query_tower", "candidate_tower", "scorer", "loss", "lr_scheduler"):
        changes[f"{place}: function"] = _setting(place, plain)
        changes[f"{place}: bare"] = _setting(place, f"{MODULE}.run")
    changes["fusion"] = _tower(fusion=plain)
    changes["fusion, bare"] = _tower(fusion=f"{MODULE}.run")
    changes["encoder"] = _tower(encoders={"text": plain})
    changes["fusion in Parallel"] = _tower(fusion={"class_path": "Parallel", "init_args": {"fusions": [plain]}})
    changes["key with dots"] = lambda settings: settings.update({"optimizer.class_path": f"{MODULE}.run"})
    changes["instantiator"] = lambda settings: settings.update(_instantiator=f"{MODULE}.run")
    changes["class of the model"] = lambda settings: settings.update(
        _class_path=f"{MODULE}.Loss", _instantiator="lightning.pytorch.cli.instantiate_module"
    )
    return changes


def _setting(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda settings: settings.update({name: value})


def _tower(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(settings: dict[str, Any]) -> None:
        tower = settings["query_tower"]
        settings["query_tower"] = {**tower, "init_args": {**tower["init_args"], **changes}}

    return change


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the hyper-parameters of a checkpoint file."""
    content = torch.load(path, weights_only=True)
    settings = dict(content["hyper_parameters"])
    change(settings)
    torch.save({**content, "hyper_parameters": settings}, path)
