"""Invites on the command line: shown as text and as a QR code, and read from where others can't see them."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import click
import segno

from peerpouch.cli.display import say
from peerpouch.errors import BadRequest

VARIABLE = "PEERPOUCH_INVITE"
PREFIX = "peerpouch:"

SEEN_BY_ALL = (
    "An invite on the command line can be read by every user of this machine while the command runs. "
    f"Give - instead, and paste it when asked, or put it in ${VARIABLE}."
)
_MOST = 1 << 14
"""Characters read of a file or of stdin; an invite has 2,800 at most."""

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def show_code(invite: str) -> None:
    """Draw a QR code on stderr, if that is a terminal."""
    if sys.stderr.isatty():
        segno.make(invite, error="l", micro=False).terminal(out=sys.stderr, compact=True)


def read(given: str, file: str | None) -> str | None:
    """The invite that SHARE stands for, if it does: ``-``, or an invite itself, which is warned of."""
    if file is not None:
        try:
            with Path(file).open(encoding="utf-8") as opened:
                return opened.read(_MOST).strip()
        except (OSError, UnicodeDecodeError):
            raise BadRequest(f"{file} can't be read.") from None
    if given.startswith(PREFIX):
        say(SEEN_BY_ALL)
        return given
    if given != "-":
        return None
    text = os.environ.get(VARIABLE)
    if text is None:
        # Without echo: an invite is a secret, and a terminal remembers what it showed.
        text = click.prompt("Invite", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read(_MOST)
    if not text.strip():
        raise BadRequest("No invite was given.")
    return text.strip()


def seconds(_ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """For options that are durations, such as ``90m`` or ``1d``."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", value.strip().lower())
    if match is None or not int(match[1]):
        raise click.BadParameter("give a number and one of s, m, h, d, w, such as 90m or 1d.", param=parameter)
    return float(int(match[1]) * _UNITS[match[2]])
