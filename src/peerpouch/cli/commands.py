"""The group of commands, and how a command's end becomes an exit code."""

from __future__ import annotations

import importlib
import json
import keyword
import sys
from collections.abc import Sequence

import click

from peerpouch.cli.display import printable
from peerpouch.cli.running import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, Settings, Terminated
from peerpouch.errors import PeerPouchError

# Each command's line in `--help`, here so that listing them loads none of them.
COMMANDS = {
    "demo": "Two processes share a database and replicate it peer to peer.",
    "share": "Share a database file with other people, until Ctrl-C.",
    "shares": "List the shares that a hub knows of.",
    "sync": "Synchronise a file with a share, in both directions.",
    "replicate": "Replicate one database into another.",
    "serve": "Serve a folder of databases by CouchDB's HTTP API.",
    "info": "Show a database file's counts, sequences and sizes.",
    "get": "Show a document.",
    "put": "Write a document.",
    "rm": "Delete documents.",
    "ls": "List a database's documents.",
    "changes": "Show what changed in a database, and go on with what changes.",
    "find": "Find documents that match a selector.",
    "query": "Show the rows of a view.",
    "index": "List, make and delete the indexes that find uses.",
    "attach": "Attach a file to a document.",
    "fetch": "Write an attachment to a file.",
    "export": "Write a whole database as lines of JSON.",
    "import": "Read lines of JSON into a database.",
    "compact": "Drop what is outdated, and give the space back.",
    "check": "Verify a database file.",
    "backup": "Make a consistent copy of a database file in use.",
    "identity": "Who you are to others: a key in a file of your own.",
    "contacts": "Your names for other people's keys.",
    "doctor": "Check what connections to peers need, step by step.",
    "hub": "Prepare a hub database, and tidy it up.",
}


class LazyGroup(click.Group):
    """A group whose commands are modules of this package, imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = f"{cmd_name}_" if keyword.iskeyword(cmd_name) else cmd_name
        command = importlib.import_module(f"peerpouch.cli.{module}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"peerpouch.cli.{cmd_name}.command is not a command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="peerpouch", message="%(prog)s %(version)s")
def cli() -> None:
    """A document database that replicates straight to other people's machines.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted by Ctrl-C, 143 ended by SIGTERM.
    """


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives its exit code. Errors of peerpouch end in one line on stderr, other ones propagate."""
    settings = Settings()
    try:
        result = cli.main(arguments, prog_name="peerpouch", obj=settings, standalone_mode=False)
        return result if isinstance(result, int) else EXIT_OK
    except click.UsageError as error:
        error.show()
        return EXIT_USAGE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except PeerPouchError as error:
        report(error, as_json=settings.as_json)
        return EXIT_FAILURE
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except Terminated as ended:
        return 128 + ended.signal
    except BrokenPipeError:
        # Whoever read the output has enough of it (`… | head`). Python would complain again at exit without this.
        sys.stdout = None
        return EXIT_FAILURE


def report(error: PeerPouchError, *, as_json: bool) -> None:
    """Say on stderr what went wrong: a line for people, an object for scripts."""
    # Reasons are often what a server or a peer said.
    text = json.dumps(error.as_json(), ensure_ascii=False) if as_json else f"peerpouch: {printable(error.reason)}"
    print(text, file=sys.stderr, flush=True)
