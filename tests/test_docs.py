"""The documentation is true: its examples run, its links lead somewhere, and it names every command and every error."""

from __future__ import annotations

import ast
import inspect
import re
import types
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import peerpouch
from peerpouch import errors
from peerpouch.cli.commands import COMMANDS, cli

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
COMMAND_LINE = ROOT / "docs" / "reference" / "command-line.md"
ERRORS = ROOT / "docs" / "reference" / "errors.md"

_FENCE = re.compile(r"^```(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, language: str) -> Iterator[tuple[int, str]]:
    """Fenced blocks of a language, each with the line that it begins at."""
    text = path.read_text("utf-8")
    for match in _FENCE.finditer(text):
        if match["language"] == language:
            yield text.count("\n", 0, match.start()) + 2, match["body"]


def anchors(path: Path) -> set[str]:
    """What a page's headings are linked by, as code hosts make it of them."""
    prose = _FENCE.sub("", path.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path) -> list[str]:
    prose = _FENCE.sub("", path.read_text("utf-8"))
    broken = []
    for match in _LINK.finditer(prose):
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        page = (path.parent / target) if target else path
        if not page.exists() or (anchor and anchor not in anchors(page)):
            broken.append(match["target"])
    return broken


async def run_examples(path: Path) -> int:
    """Run a page's Python from top to bottom as one program, ``await`` at top level included. Gives how many blocks."""
    namespace: dict[str, object] = {"__name__": "example"}
    count = 0
    for line, body in blocks(path, "python"):
        # Blank lines in front, so that a traceback names the line of the page.
        code = compile("\n" * (line - 1) + body, name_of(path), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = types.FunctionType(code, namespace)()
        if inspect.isawaitable(result):
            await result
        count += 1
    return count


@pytest.mark.parametrize("path", [page for page in PAGES if any(blocks(page, "python"))], ids=name_of)
async def test_the_python_of_a_page_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEERPOUCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PEERPOUCH_ICE_SERVERS", "none")
    assert await run_examples(path) > 0


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_of_a_page_leads_somewhere(path: Path) -> None:
    assert broken_links(path) == []


def test_a_broken_link_and_a_broken_example_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n[a](#one) [b](#two) [c](page.md#one) [d](gone.md)\n```python\nawait nothing\n```\n", "utf-8"
    )
    assert broken_links(page) == ["#two", "gone.md"]
    assert list(blocks(page, "python")) == [(4, "await nothing\n")]


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize(("words", "command"), list(commands(cli)), ids=lambda value: getattr(value, "name", None))
def test_every_command_is_documented_with_its_arguments_and_options(
    words: tuple[str, ...], command: click.Command
) -> None:
    text = COMMAND_LINE.read_text("utf-8")
    section = re.search(rf"^## `peerpouch {' '.join(words)}[^\n]*\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section is not None, f"{name_of(COMMAND_LINE)} has no section for peerpouch {' '.join(words)}"
    for parameter in command.params:
        names = parameter.opts if isinstance(parameter, click.Option) else [parameter.metavar or ""]
        assert any(name in section[0] for name in names), f"{names} is missing"


def test_no_command_is_documented_that_does_not_exist() -> None:
    documented = re.findall(
        r"^## `peerpouch ([a-z ]+?)(?: [A-Z\[-][^\n]*)?`", COMMAND_LINE.read_text("utf-8"), re.MULTILINE
    )
    assert documented == [" ".join(words) for words, _ in commands(cli)]


def test_the_help_of_each_command_is_its_line_in_the_list() -> None:
    context = click.Context(cli)
    assert cli.list_commands(context) == list(COMMANDS)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        assert command.name == name


def test_every_error_is_documented_with_its_status_and_name() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \| (\d+) \| `(\w+)` \|", ERRORS.read_text("utf-8"), re.MULTILINE))
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert rows == {(each.__name__, str(each.status), each.error) for each in classes}  # type: ignore[attr-defined]


def test_every_argument_of_a_server_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "server.md").read_text("utf-8")
    for described in (peerpouch.Server, peerpouch.ShareOptions):
        for name in inspect.signature(described).parameters:
            assert f"`{name}`" in page, name


def test_every_field_of_a_replication_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "server.md").read_text("utf-8")
    source = (ROOT / "src" / "peerpouch" / "jobs" / "requests.py").read_text("utf-8")
    for name in re.findall(r'(?:fields\.get|_boolean|_endpoint)\((?:fields, )?"(\w+)"', source):
        if name not in ("id", "_local_id"):  # other names that CouchDB has for replication_id
            assert f"`{name}`" in page, name
