"""The script by which a shell completes: verbs, options, values and files, without starting Python."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dssm_lightning.cli import trainer_verbs
from dssm_lightning.cli.commands.registry import COMMANDS, arguments_of
from dssm_lightning.cli.completion_script import completion_script
from dssm_lightning.utils.errors import UserError

TRY = """
source "$1"; shift
complete=$(complete -p dssm-lightning)
function=$(sed 's/.*-F \\([^ ]*\\).*/\\1/' <<< "$complete")
COMP_WORDS=(dssm-lightning "$@"); COMP_CWORD=$#
$function dssm-lightning "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "dssm-lightning.bash"
    path.write_text(completion_script("bash"), encoding="utf-8")
    return path


def completed(script: Path, *words: str) -> set[str]:
    """What bash offers for the last word."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    line = ["timeout", "20", "bash", "--norc", "-c", TRY, "try", str(script), *words]
    environment = {"PATH": "/usr/bin:/bin"}  # no Python of this environment
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=script.parent, env=environment)
    return set(done.stdout.split())


def test_every_verb(script: Path) -> None:
    assert completed(script, "") >= {*trainer_verbs.ABOUT, *COMMANDS}
    assert completed(script, "se") == {"search", "serve"}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["search", "--hy"], {"--hybrid", "--hybrid_weight"}),
        (["serve", "--cors"], {"--cors_origin"}),
        (["serve", "--max_b"], {"--max_body"}),  # a field of the limits
        (["fit", "--data.batch"], {"--data.batch_size", "--data.batch_by"}),
        (["fit", "--trainer.max_ep"], {"--trainer.max_epochs"}),
        (["fit", "--checkpoint.pat"], {"--checkpoint.patience"}),
        (["fit", "--ver"], {"--verbose"}),
        (["test", "--hybrid_"], {"--hybrid_weight"}),
        (["test", "--conf"], {"--config"}),
        (["export", "--vectors", "in"], {"int8"}),
        (["completion", ""], {"bash", "zsh"}),
    ],
)
def test_options_and_values(words: list[str], found: set[str], script: Path) -> None:
    assert completed(script, *words) >= found


def test_files(script: Path) -> None:
    for name in ("shop.yaml", "shop.csv", "best-of-all.ckpt"):
        (script.parent / name).touch()
    for verb in ("fit", "search", "test"):
        assert completed(script, verb, "--config", "sh") == {"shop.yaml"}
        assert completed(script, verb, "--ckpt_path", "be") == {"best", "best-of-all.ckpt"}
    assert completed(script, "init", "--interactions", "sh") == {"shop.csv", "shop.yaml"}


def test_zsh() -> None:
    script = completion_script("zsh")
    assert script.startswith("#compdef dssm-lightning")
    for text in ("hashing-report", "--hybrid_weight", "--data.batch_size", "*.yaml", "best last"):
        assert text in script
    if shutil.which("zsh") is not None:
        subprocess.run(["timeout", "20", "zsh", "-n"], input=script, text=True, check=True)


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments_of(["completion", "fish"])
    assert "fish" in capsys.readouterr().err


def test_without_shtab_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from dssm_lightning.cli.main import main

    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(UserError, match=r"pip install 'dssm-lightning\[completion\]'"):
        main(["completion", "bash"])
