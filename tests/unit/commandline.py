"""`darkroom`, as a person calls it, in this process."""

from darkroom import cli


def command(*arguments):
    """The exit code of the command."""
    try:
        return cli.main(list(arguments))
    except SystemExit as ended:
        return ended.code or 0
