"""The Dockerfile, the compose file and what is said of deployment, checked as far as that needs no Docker daemon."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from helpers.paths import PACKAGE, ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement

from dssm_lightning.serving.settings import Limits

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KNOWN = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL"}
KNOWN |= {"USER", "WORKDIR"}
OF_SERVICES = {"build", "image", "command", "ports", "environment", "volumes", "read_only", "tmpfs", "cap_drop", "cpus"}
OF_SERVICES |= {"security_opt", "ulimits", "pids_limit", "mem_limit", "healthcheck", "stop_grace_period", "restart"}
DOCS = ROOT / "docs" / "how-to" / "serving.md"
TRAINING = {"torch", "torchvision", "lightning", "torchmetrics", "tensorboard", "onnx", "onnxscript"}


class Instruction(NamedTuple):
    """One instruction of a Dockerfile, its lines joined."""

    name: str
    value: str


def instructions() -> list[Instruction]:
    lines = [line for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*line.split(None, 1)) for line in text.splitlines() if line.strip()]


def stages() -> list[list[Instruction]]:
    found: list[list[Instruction]] = []
    for each in instructions():
        if each.name == "FROM":
            found.append([])
        if found:
            found[-1].append(each)
    return found


def only(stage: list[Instruction], name: str) -> str:
    (value,) = [each.value for each in stage if each.name == name]
    return value


def requirements() -> list[Requirement]:
    """What the image installs with its dependencies."""
    (line,) = [each.value for each in instructions() if each.value.startswith("pip install ") and ">=" in each.value]
    return [Requirement(word) for word in re.findall(r'"([^"]+)"', line)]


# -- the image ---------------------------------------------------------------------------------------------------------


def test_every_instruction_is_one_of_docker() -> None:
    assert {each.name for each in instructions()} <= KNOWN
    for each in instructions():
        if each.name in ("ENTRYPOINT", "CMD"):
            assert all(isinstance(word, str) for word in json.loads(each.value)), "exec form: signals reach the server"


def test_the_last_stage_has_neither_sources_nor_an_administrator() -> None:
    build, final = stages()
    assert re.fullmatch(r"python:\$\{PYTHON\}-slim AS build", only(build, "FROM"))
    assert re.fullmatch(r"python:\$\{PYTHON\}-slim", only(final, "FROM"))
    assert [each.value for each in final if each.name == "COPY"] == ["--from=build /venv /venv"]
    user = only(final, "USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user), "a number, which runAsNonRoot can check"
    assert f"--uid {user.partition(':')[0]}" in only(final, "RUN")
    order = [each.name for each in final]
    assert order.index("USER") > order.index("RUN")
    assert not any("pip" in each.value for each in final)


def test_the_image_has_a_python_that_is_supported() -> None:
    (default,) = [each.value for each in instructions() if each.name == "ARG"]
    name, _, version = default.partition("=")
    assert name == "PYTHON"
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert re.fullmatch(r"3\.\d+", version), "a pinned minor version"
    assert float(version[2:]) >= max(
        float(each[2:]) for each in workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    )


def test_health_stop_and_start_are_those_of_the_command() -> None:
    _, final = stages()
    options, _, command = only(final, "HEALTHCHECK").partition("CMD ")
    assert {word.partition("=")[0] for word in options.split()} <= {
        *("--interval", "--timeout", "--start-period", "--retries", "--start-interval")
    }
    check = json.loads(command)
    compile(check[-1], "health check", "exec")
    assert check[:2] == ["python", "-c"]
    assert "http://127.0.0.1:8000/health" in check[-1]
    assert only(final, "EXPOSE") == "8000"
    assert only(final, "STOPSIGNAL") == "SIGTERM"
    assert json.loads(only(final, "ENTRYPOINT")) == ["dssm-lightning"]
    words = json.loads(only(final, "CMD"))
    assert words[0] == "serve"
    assert words[words.index("--bundle") + 1] == "/bundle"


def test_what_is_copied_exists_and_is_sent_to_the_daemon() -> None:
    build, _ = stages()
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    sent = {line[1:] for line in ignored if line.startswith("!")}
    copied = {name for each in build if each.name == "COPY" for name in each.value.split()[:-1]}
    assert copied == sent
    assert "*" in ignored
    assert all((ROOT / name).exists() for name in copied)


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def test_what_is_installed_has_the_versions_of_the_project() -> None:
    lines = [
        *project()["dependencies"],
        *(each for extra in project()["optional-dependencies"].values() for each in extra),
    ]
    known = {(each.name, str(each.specifier)) for each in map(Requirement, lines)}
    for each in requirements():
        if each.name != "fsspec":  # a dependency of Lightning, with any version
            assert (each.name, str(each.specifier)) in known, each


def test_what_is_installed_has_the_extra_and_nothing_of_training() -> None:
    names = {each.name for each in requirements()}
    assert {Requirement(line).name for line in project()["optional-dependencies"]["serve"]} <= names
    assert not names & TRAINING


def closure(wanted: Iterable[Requirement]) -> set[str]:
    """The distributions that pip installs for some requirements, by what is installed here."""
    found: set[str] = set()
    waiting = list(wanted)
    while waiting:
        each = waiting.pop()
        for extra in ("", *each.extras):
            key = f"{each.name.lower()}[{extra}]"
            if key in found:
                continue
            found.add(key)
            try:
                needs = distribution(each.name).requires or []
            except PackageNotFoundError:
                continue
            for need in map(Requirement, needs):
                if need.marker is None or need.marker.evaluate({**default_environment(), "extra": extra}):
                    waiting.append(need)
    return {name.partition("[")[0].replace("_", "-") for name in found}


FLOWS = """
import sys
finders = sys.meta_path[:]
class Hiding:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in absent:
            return None
        return next((spec for each in finders if (spec := each.find_spec(name, path, target))), None)
    @staticmethod
    def find_distributions(*context):
        others = [each.find_distributions for each in finders if hasattr(each, "find_distributions")]
        return (found for find in others for found in find(*context))
sys.meta_path[:] = [Hiding]
from dssm_lightning.cli.commands import serve
from dssm_lightning.serving import server, workers
from dssm_lightning.serving.process import make_server
from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import ServingSettings, name_bundles
import dssm_lightning.cli.main, dssm_lightning.cli.spelling_parser, dssm_lightning.__main__
serving = Serving(ServingSettings(name_bundles([sys.argv[1]])))
serving.open()
make_server(serving).config.load()
retriever = serving.bundle().retriever
assert len(retriever.search(["red shoes"] * 100, k=3)) == 100
assert retriever.search("red shoes", k=3, filter="price > 2", hybrid=None)
assert "torch" not in sys.modules
"""


def test_the_image_has_all_that_a_server_imports(shop_bundle: Path) -> None:
    """Whatever the image does not install is hidden, and a bundle is served."""
    present = closure(requirements())
    modules = {
        module: {name.lower().replace("_", "-") for name in names} for module, names in packages_distributions().items()
    }
    absent = {module for module, names in modules.items() if not names & present and module != "dssm_lightning"}
    assert absent >= TRAINING & set(modules)
    absent -= {"dssm_lightning", "__editable___dssm_lightning_0_1_0_finder", "_distutils_hack", "distutils-precedence"}
    line = [
        "timeout",
        "-k",
        "5",
        "100",
        sys.executable,
        "-c",
        f"absent = {sorted(absent)!r}\n{FLOWS}",
        str(shop_bundle),
    ]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_package_ships_the_files_of_the_page() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shipped = settings["tool"]["setuptools"]["package-data"]["dssm_lightning"]
    for path in (PACKAGE / "serving").rglob("*"):
        name = path.relative_to(PACKAGE).as_posix()
        if path.is_file() and path.suffix not in (".py", ".pyc"):
            assert any(fnmatch(name, pattern) for pattern in shipped), f"{name} is not in the wheel"


# -- compose -----------------------------------------------------------------------------------------------------------


def test_the_compose_file_starts_the_image_with_little_power() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert set(compose) == {"services"}
    (service,) = compose["services"].values()
    assert set(service) <= OF_SERVICES
    _, final = stages()
    assert service["command"] == json.loads(only(final, "CMD"))
    assert service["healthcheck"]["test"][1:] == json.loads(only(final, "HEALTHCHECK").partition("CMD ")[2])
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"][0].startswith("/tmp"), "the workers' metrics"
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert all(volume["read_only"] for volume in service["volumes"])
    assert ":?" in service["environment"]["DSSM_API_TOKEN"], "no token, no start"
    assert int(service["stop_grace_period"].removesuffix("s")) > Limits().timeout + 10
    assert service["ulimits"]["nofile"] > 2 * Limits().max_connections


def docker(*words: str) -> subprocess.CompletedProcess[str] | None:
    """What Docker's client says; None without the client, or a daemon that it needs."""
    client = shutil.which("docker")
    if client is None:
        return None
    line = ["timeout", "-k", "5", "60", client, *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False, timeout=70)


def test_docker_itself_finds_no_fault() -> None:
    """Needs the plugins compose and buildx."""
    compose, build = docker("compose", "version"), docker("buildx", "version")
    checks = []
    if compose is not None and compose.returncode == 0:
        checks.append(docker("compose", "--env-file", "/dev/null", "config", "--no-interpolate", "--quiet"))
    if (
        build is not None
        and build.returncode == 0
        and (daemon := docker("info")) is not None
        and daemon.returncode == 0
    ):
        checks.append(docker("buildx", "build", "--check", "."))
    if not checks:
        pytest.skip("no Docker with compose or buildx: apt install docker-compose-plugin docker-buildx-plugin")
    for check in checks:
        assert check is not None
        assert check.returncode == 0, check.stderr


# -- what is said of it ------------------------------------------------------------------------------------------------


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def test_the_table_of_limits_is_complete_and_right() -> None:
    rows = dict(re.findall(r"^\| `--(\w+)` \| ([\d,]+) ", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    limits = {name: f"{int(value):,}" for name, value in vars(Limits()).items()}
    assert rows == limits


def test_the_lines_of_kubernetes_fit_the_server() -> None:
    (deployment,) = [yaml.safe_load(text) for text in blocks("yaml") if "Deployment" in text]
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert container["readinessProbe"]["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"] == "/ready"
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] >= pause + Limits().timeout + 10
    assert container["args"][0] == "serve"
    names = {volume["name"] for volume in spec["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == names
    (scrape,) = [yaml.safe_load(text) for text in blocks("yaml") if "scrape" in text]
    assert scrape["scrape_configs"][0]["job_name"] == "dssm"


def test_the_unit_of_systemd_fits_the_server() -> None:
    (unit,) = blocks("ini")
    values = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert " serve " in values["ExecStart"]
    assert "-HUP" in values["ExecReload"]
    assert values["KillMode"] == "mixed", "SIGTERM to the first process, which ends the workers"
    assert int(values["TimeoutStopSec"]) > Limits().timeout + 5
    assert set(re.findall(r"^\[(\w+)\]$", unit, re.MULTILINE)) == {"Unit", "Service", "Install"}


def test_every_option_on_the_page_is_one_of_the_command() -> None:
    from dssm_lightning.cli.commands.serve import serve

    options = {*serve.__annotations__, *vars(Limits())}
    used = set()
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        if "serve" in line or line.startswith("| `--"):
            used |= set(re.findall(r"(?<![\w-])--([a-z]\w+)\b(?!-)", line.partition("docker")[0]))
    assert used - {"config", "output", "rm", "no"} <= options
