"""``peerpouch index list|create|delete DATABASE``."""

from __future__ import annotations

from typing import Any

import click

from peerpouch.cli.databases import database_argument, json_value, opened
from peerpouch.cli.display import printable, write_json, write_table
from peerpouch.cli.running import identity_option, json_option, run
from peerpouch.errors import BadRequest, NotFound
from peerpouch.ports import Document


@click.group("index", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """The indexes that `peerpouch find` uses."""


@command.command("list")
@database_argument
@identity_option
@json_option
def show(database: str, identity: str | None, as_json: bool) -> None:
    """List a database's indexes. DATABASE is a file, a URL, or the webrtc://… of a share."""

    async def work() -> Document:
        async with opened(database, identity) as source:
            return await source.get_indexes()

    found = run(work())
    if as_json:
        write_json(found)
        return
    rows = [
        [printable(index["name"]), printable(index["ddoc"] or ""), printable(_fields(index["def"]))]
        for index in found["indexes"]
    ]
    write_table(["name", "design document", "fields"], rows)


def _fields(definition: dict[str, Any]) -> str:
    names = [f"{name} desc" if way == "desc" else name for part in definition["fields"] for name, way in part.items()]
    text = ", ".join(names)
    return f"{text}, of some documents" if definition.get("partial_filter_selector") else text


@command.command("create")
@database_argument
@click.argument("fields", metavar="FIELD...", nargs=-1, required=True)
@click.option("--name", metavar="NAME", help="What the index is called; by default after its definition.")
@click.option("--ddoc", metavar="DDOC", help="The design document that it is stored in.")
@click.option(
    "--partial", metavar="JSON", callback=json_value, help="A selector: only such documents are in the index."
)
@identity_option
@json_option
def create(
    database: str,
    fields: tuple[str, ...],
    name: str | None,
    ddoc: str | None,
    partial: Any,
    identity: str | None,
    as_json: bool,
) -> None:
    """Make an index over one or more fields. It is built when a query first needs it."""

    async def work() -> Document:
        async with opened(database, identity) as source:
            return await source.create_index(list(fields), name=name, ddoc=ddoc, partial_filter_selector=partial)

    made = run(work())
    if as_json:
        write_json(made)
    else:
        print(f"{printable(made['name'])}  {printable(made['id'])}  {made['result']}")


@command.command("delete")
@database_argument
@click.argument("name", metavar="NAME")
@click.option("--ddoc", metavar="DDOC", help="Its design document, where several have an index of this name.")
@identity_option
@json_option
def delete(database: str, name: str, ddoc: str | None, identity: str | None, as_json: bool) -> None:
    """Delete the index NAME."""
    wanted = None if ddoc is None else f"_design/{ddoc.removeprefix('_design/')}"

    async def work() -> str:
        async with opened(database, identity) as source:
            listed = (await source.get_indexes())["indexes"]
            found = [
                each["ddoc"]
                for each in listed
                if each["name"] == name and each["ddoc"] and wanted in (None, each["ddoc"])
            ]
            if not found:
                raise NotFound(f"There is no index {name!r}; `peerpouch index list` shows those that there are.")
            if len(found) > 1:
                raise BadRequest(f"Several have the name {name!r}; say which with --ddoc: {', '.join(found)}.")
            await source.delete_index(found[0], name)
            return str(found[0])

    gone = run(work())
    if as_json:
        write_json({"ok": True, "name": name, "ddoc": gone})
    else:
        print(f"{printable(name)}  {printable(gone)}  deleted")
