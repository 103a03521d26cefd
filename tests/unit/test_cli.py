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
