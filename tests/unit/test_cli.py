import os
import subprocess
import sys

import pytest

from darkroom import cli
from darkroom.errors import BadRequest, StackError


def run(monkeypatch, raised):
    def command(_arguments):
        raise raised

    monkeypatch.setattr(cli, "app", command)
    return cli.main([])


@pytest.mark.parametrize(("error", "code"), [(StackError("it broke"), 1), (BadRequest("no such thing"), 2)])
def test_an_error_that_was_meant_is_one_message_and_an_exit_code(monkeypatch, capsys, error, code):
    assert run(monkeypatch, error) == code
    assert capsys.readouterr().err == f"darkroom: {error}\n"


@pytest.mark.parametrize("arguments", [["no-such-command"], ["status", "--no-such-option"]])
def test_a_wrong_command_line_exits_with_2(arguments):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    assert ended.value.code == 0
    assert f" {command} [OPTIONS]" in capsys.readouterr().out


def test_a_command_that_was_told_to_outlive_its_terminal_does():
    import signal

    from darkroom.commands.stack import end_like_ctrl_c

    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        end_like_ctrl_c()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is not before[signal.SIGTERM]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def darkroom(config, home, *arguments):
    """The command as a person calls it: the tables of stages are made once in a process."""
    environment = {**os.environ, "DARKROOM_CONFIG": str(config), "DARKROOM_HOME": home}
    command = [sys.executable, "-m", "darkroom.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("command", "code", "told"), [
    ("down", 0, "nothing was running"), ("status", 1, "not healthy"), ("logs", 2, "no logs below"),
])  # fmt: skip
def test_a_mistake_in_the_configuration_does_not_keep_anybody_from_the_plant(tmp_path, command, code, told):
    config = tmp_path / "darkroom.toml"
    config.write_text(f'home = "{tmp_path}/mine"\n[stages.sepia]\nmodell = "x"\n')
    done = darkroom(config, "", command)
    assert done.returncode == code
    assert "warning: " in done.stderr
    assert f"going on without {config}" in done.stderr
    assert told in done.stdout + done.stderr
    assert not (tmp_path / "mine").exists() or command != "down"


def test_what_is_no_toml_at_all_is_left_out_too_and_its_home_still_counts(tmp_path):
    config = tmp_path / "darkroom.toml"
    config.write_text(f'threads = no\nhome = "{tmp_path}/mine"\n')
    done = darkroom(config, "", "logs")
    assert f"no logs below {tmp_path}/mine" in done.stderr


def test_other_commands_say_what_is_wrong_with_the_configuration(tmp_path):
    config = tmp_path / "darkroom.toml"
    config.write_text('[stages.sepia]\nmodell = "x"\n')
    done = darkroom(config, str(tmp_path), "verify", "b1")
    assert (done.returncode, "stages.sepia" in done.stderr) == (2, True)
