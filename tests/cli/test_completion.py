"""`dept-vl completion`: what shells complete, and that their scripts are whole."""

import shlex
import shutil
import subprocess

import pytest

from dept_vl import cli
from dept_vl.adapters import ADAPTERS
from dept_vl.cli.completion import SHELLS, whole_parser


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """The path of each shell's script, by the shell's name."""
    import shtab

    folder, whole = tmp_path_factory.mktemp("completion"), whole_parser()
    for shell in SHELLS:
        (folder / shell).write_text(shtab.complete(whole, shell))
    return {shell: folder / shell for shell in SHELLS}


@pytest.fixture
def complete(scripts, tmp_path):
    """complete(*words): what bash offers for the last one, in an empty folder."""

    def complete(*words: str) -> set[str]:
        given = " ".join(map(shlex.quote, ("dept-vl", *words)))
        script = f"source {scripts['bash']}; COMP_WORDS=({given}); COMP_CWORD={len(words)}; _shtab_dept_vl; "
        done = subprocess.run(
            ["bash", "-c", script + 'printf "%s\\n" "${COMPREPLY[@]}"'], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0 and not done.stderr, done.stderr
        return set(done.stdout.split())

    return complete


def test_commands_flags_and_values_are_completed(complete, tmp_path):
    assert complete("") >= {*cli.COMMANDS} and complete("fea") == {"features"}
    assert complete("train", "") >= {"vqa", "caption", "text"} and complete("features", "pr") == {"prune"}
    assert complete("train", "vqa", "--adapter.na") == {"--adapter.name"}
    assert complete("train", "--adapter.name", "") >= {*ADAPTERS}
    assert complete("train", "--task", "superglue-c") == {"superglue-cb", "superglue-copa"}
    assert complete("evaluate", "") >= {"vqa", "caption", "own", "adapter"}
    assert complete("evaluate", "adapter", "--split") == {"--split", "--split_shares"}
    assert complete("plan", "--dry") == {"--dry-run"} and "--json" in complete("extract", "--js")
    (tmp_path / "photo.png").touch()
    assert complete("predict", "--image", "pho") == {"photo.png"}


def test_every_command_completes_its_own_flags(complete):
    for name in cli.COMMANDS:
        if name != "evaluate":  # whose flags stand behind another word
            flags = {flag for action in cli.load_command(name).parser()._actions for flag in action.option_strings}
            long = {flag for flag in flags if flag.startswith("--") and flag != "--print_shtab"}
            assert long <= complete(name, "--"), name


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_reads_its_script(shell, scripts):
    if shutil.which(shell) is None:
        pytest.skip(f"skipped: no {shell}")
    done = subprocess.run([shell, "-n", scripts[shell]], capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_the_command_prints_it(capsys):
    cli.main(["completion", "fish"])
    assert "complete -c dept-vl" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        cli.main(["completion", "csh"])
    assert stop.value.code == 2
