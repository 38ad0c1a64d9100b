"""The command line: ``peerpouch COMMAND …``.

One module per command, loaded when the command is run, so that ``peerpouch --help`` costs nothing but click:

* :mod:`.commands`: the group, its table of commands, and what turns the end of a command into an exit code;
* :mod:`.demo`, :mod:`.share`, :mod:`.shares`, :mod:`.sync`, :mod:`.replicate`, :mod:`.info`, :mod:`.identity`;
* :mod:`.get`, :mod:`.put`, :mod:`.rm`, :mod:`.ls`, :mod:`.changes`, :mod:`.attach`, :mod:`.fetch`;
* :mod:`.find`, :mod:`.query`, :mod:`.index`;
* :mod:`.export`, :mod:`.import_`, :mod:`.compact`, :mod:`.check`, :mod:`.backup`;
* :mod:`.running`: an event loop with Ctrl-C and SIGTERM; :mod:`.display`: tables, progress, JSON;
* :mod:`.targets`: which share an argument means; :mod:`.databases`: which database;
* :mod:`.pipes`: bytes from and to files, pipes and terminals;
* :mod:`.processes`: Python processes that are called by lines of JSON, for the demo.

Exit codes: 0 done; 1 failed, or something differs; 2 wrong usage; 130 interrupted by Ctrl-C; 143 ended by SIGTERM.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line with these arguments (by default the process's own) and exit."""
    from peerpouch.cli.commands import invoke

    sys.exit(invoke(arguments))
