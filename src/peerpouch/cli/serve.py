"""``peerpouch serve DIR``."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import click

from peerpouch.cli.display import say, write_json
from peerpouch.cli.running import identity_option, json_option, run, warn_of_password

if TYPE_CHECKING:
    import peerpouch

PASSWORD_VARIABLE = "PEERPOUCH_ADMIN_PASSWORD"  # noqa: S105  a variable's name
"""An argument would be seen by every user of the machine, in its list of processes."""

ADMIN_PARTY = (
    "There is no administrator: every program of this machine may do everything with these databases. "
    "To set one, start with --admin NAME."
)

OPEN_TO_ALL = (
    "OPEN TO ALL: everybody who can read the hub may read AND CHANGE what is shared. To let them only read, add "
    "--read-only; to choose who may come, share with `peerpouch share` and --invite or --peer."
)

_LEVELS = ("debug", "info", "warning", "error")


@click.command("serve")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=5984, show_default=True, type=click.IntRange(0, 65535), help="0 for any free one.")
@click.option("--admin", metavar="NAME", help="Have an administrator of this name; see below for the password.")
@click.option("--cors", metavar="ORIGIN", multiple=True, help="Let web pages of this origin use the server.")
@click.option("--tls-cert", metavar="FILE", type=click.Path(dir_okay=False), help="A certificate, for HTTPS.")
@click.option("--tls-key", metavar="FILE", type=click.Path(dir_okay=False), help="The certificate's key.")
@click.option("--forwarded-from", metavar="ADDRESS", multiple=True, help="Believe this proxy's X-Forwarded headers.")
@click.option("--share", metavar="DB", multiple=True, help="Share this database with other people.")
@click.option(
    "--hub",
    metavar="HUB",
    callback=warn_of_password,
    help="A database of DIR to be a public hub; with --share, where shares are announced: it, a URL or a file.",
)
@click.option("--name", help="What people see of a share; by default the database's name.")
@click.option("--read-only", is_flag=True, help="Let those who open a share read, and refuse their changes.")
@identity_option
@click.option("--log-level", type=click.Choice(_LEVELS), default="info", show_default=True, help="What to log.")
@json_option
def command(
    folder: str,
    host: str,
    port: int,
    admin: str | None,
    cors: tuple[str, ...],
    tls_cert: str | None,
    tls_key: str | None,
    forwarded_from: tuple[str, ...],
    share: tuple[str, ...],
    hub: str | None,
    name: str | None,
    read_only: bool,
    identity: str | None,
    log_level: str,
    as_json: bool,
) -> None:
    """Serve the databases of a folder by CouchDB's HTTP API, until Ctrl-C or SIGTERM.

    Each database is one file of DIR, which is made if it is not there. PouchDB, CouchDB and curl can use them.

    A public hub is a database that strangers may use without an account to find and announce shares and to leave
    signals for each other, within limits, and for nothing else.

    Without an administrator the server listens on this machine only, and everybody there may do everything. The
    password of --admin is the environment variable PEERPOUCH_ADMIN_PASSWORD, or is asked for; it is remembered
    in DIR, as a hash.
    """
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    public = hub if hub is not None and is_database_name(hub) else None
    if share and hub is None:
        raise click.UsageError("--share needs a --hub.")
    if hub is not None and public is None and not share:
        raise click.UsageError("--hub without --share is the name of a database of DIR.")
    if name is not None and len(share) > 1:
        raise click.UsageError("--name is for one --share.")
    import peerpouch

    access = "read-only" if read_only else "read-write"
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    server = peerpouch.Server(
        folder,
        host=host,
        port=port,
        admins={} if admin is None else {admin: _password(admin)},
        cors=cors,
        tls_cert=tls_cert,
        tls_key=tls_key,
        forwarded_from=forwarded_from,
        identity=identity,
        hub=public,
        shares=[peerpouch.ShareOptions(database, hub or "", name, access) for database in share],
    )
    run(_serve(server, as_json=as_json, open_to_all=bool(share) and not read_only))


def is_database_name(hub: str) -> bool:
    """Whether a hub is a database of the server itself, and neither a URL nor a file."""
    return not ("/" in hub or ":" in hub or hub.endswith(".db"))


def _password(name: str) -> str | None:
    password = os.environ.pop(PASSWORD_VARIABLE, None)
    if password is None and sys.stdin.isatty():
        asked = f"Password for {name} (nothing: as it was)"
        password = str(click.prompt(asked, default="", show_default=False, hide_input=True, err=True)) or None
    return password


async def _serve(server: peerpouch.Server, *, as_json: bool, open_to_all: bool) -> None:
    async with server:
        if as_json:
            started = {"url": server.url, "folder": str(server.folder), "admin_party": server.admin_party}
            write_json(started if server.hub_url is None else {**started, "hub": server.hub_url}, lines=True)
        else:
            print(f"serving  {server.folder}\nat       {server.url}", flush=True)
            if server.hub_url is not None:
                print(f"hub      {server.hub_url}", flush=True)
            if server.admin_party:
                say(ADMIN_PARTY)
        if open_to_all:
            say(OPEN_TO_ALL)
        await server.wait()
