"""What commands show: progress, tables, JSON. Results go to stdout; everything said along the way goes to stderr."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from peerpouch.ports import ReplicationProgress

RATE_WINDOW = 3.0
"""Seconds that a rate is averaged over: short enough to show a stall, long enough not to flicker between batches."""


def write_json(value: Any, *, lines: bool = False) -> None:
    """A result for a script, on stdout: indented, or as one line of a stream."""
    print(json.dumps(value, ensure_ascii=False, indent=None if lines else 2), flush=True)


def printable(text: str) -> str:
    """Text of somebody else's on one line: control characters as JSON writes them, so that none reaches a terminal."""
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def counted(number: int, what: str) -> str:
    """``1 document``, ``2,000 documents``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def say(text: str) -> None:
    """A remark for a person, on stderr. Parts of it may be somebody else's: only its line breaks pass."""
    print("\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)


def console(stream: TextIO | None = None) -> Console:
    """A rich console, on stderr unless told otherwise. Rich is loaded here, since most scripts never see it."""
    from rich.console import Console

    return Console(file=stream or sys.stderr, highlight=False)


def write_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str | None = None) -> None:
    """A table on stdout. The last column folds on a narrow terminal; text is shown as it is, never as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in table.columns[:-1]:
        column.no_wrap = True
    table.columns[-1].overflow = "fold"
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out = console(sys.stdout)
    if not out.is_terminal:
        out.width = 200  # a file or a pipe has no width; nothing should be cut for its sake
    out.print(table)


def amount(count: float) -> str:
    """Bytes for people: ``12.3 MB``."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"


def summary(progress: ReplicationProgress) -> dict[str, Any]:
    """A replication's state as JSON."""
    return {
        "state": progress.state,
        "docs_read": progress.docs_read,
        "docs_written": progress.docs_written,
        "docs_failed": progress.docs_failed,
        "attachments_written": progress.attachments_written,
        "bytes": progress.bytes,
        "pending": progress.pending,
        "last_seq": progress.last_seq,
        "seconds": None if progress.ended is None else round(progress.ended - progress.started, 3),
        "error": None if progress.error is None else progress.error.as_json(),
        "refused": [{"id": each.id, "rev": each.rev, "reason": each.reason} for each in progress.refused],
    }


class Rate:
    """Documents a second, over the last seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()

    def at(self, now: float, count: int) -> float:
        """Take ``count`` at the time ``now``; gives the rate."""
        self._points.append((now, count))
        while len(self._points) > 2 and now - self._points[1][0] >= RATE_WINDOW:
            self._points.popleft()
        (began, first), (ended, last) = self._points[0], self._points[-1]
        return (last - first) / (ended - began) if ended > began else 0.0


class ProgressView:
    """One line for each replication that goes on, on a terminal; nothing where stderr is not one, or with ``quiet``.

    Use it in ``with``; take a :meth:`line` for each replication inside.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._progress: Progress | None = None
        if not quiet and sys.stderr.isatty():
            self._progress = self._make()

    @staticmethod
    def _make() -> Progress:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        def field(name: str) -> TextColumn:
            return TextColumn("{task.fields[" + name + "]}", justify="right")

        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            field("docs"),
            field("size"),
            field("rate"),
            field("pending"),
            TextColumn("{task.fields[path]}", style="dim", markup=False),
            console=console(),
        )

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def line(self, label: str, path: str = "") -> Line:
        """A new line, for one replication. ``path`` says which way the data goes."""
        if self._progress is None:
            return Line(None, None)
        task = self._progress.add_task(label, total=None, docs="", size="", rate="", pending="", path=path)
        return Line(self._progress, task)


class Line:
    """A replication's line; shows nothing where there is no terminal."""

    def __init__(self, view: Progress | None, task: TaskID | None) -> None:
        self._view = view
        self._task = task
        self._rate = Rate()

    def show(self, done: float, total: float | None, **fields: Any) -> None:
        """Show how much is done, and the texts of some fields."""
        if self._view is not None and self._task is not None:
            fields["total"] = None if total is None else max(total, 1)
            self._view.update(self._task, completed=done, **fields)

    def update(self, progress: ReplicationProgress, path: str | None = None) -> None:
        """Show this state, and the way that the data takes where it is known."""
        if self._view is None or self._task is None:
            return
        rate = self._rate.at(time.monotonic(), progress.docs_written)
        done = progress.changes_read
        if path is not None:
            self._view.update(self._task, path=path)
        self._view.update(
            self._task,
            completed=done,
            total=None if progress.pending is None else max(done + progress.pending, 1),
            docs=f"{progress.docs_written:,} docs",
            size=amount(progress.bytes),
            rate=f"{rate:,.0f}/s" if progress.state == "active" else progress.state,
            pending="" if not progress.pending else f"{progress.pending:,} to go",
        )


class Amounts:
    """A line for what has a size: bytes, or documents, of a total that may be unknown."""

    def __init__(self, line: Line, total: int | None = None) -> None:
        self._line = line
        self._total = total
        self._rate = Rate()
        self._done = 0

    def add(self, size: int) -> None:
        """So many bytes more."""
        self._done += size
        rate = f"{amount(self._rate.at(time.monotonic(), self._done))}/s"
        self._line.show(self._done, self._total, size=amount(self._done), rate=rate)

    def documents(self, done: int, size: int, pending: int | None) -> None:
        """So many documents and bytes by now."""
        rate = f"{self._rate.at(time.monotonic(), done):,.0f}/s"
        self._line.show(
            done,
            None if pending is None else done + pending,
            docs=f"{done:,} docs",
            size=amount(size),
            rate=rate,
            pending="" if not pending else f"{pending:,} to go",
        )


class States:
    """Writes JSON lines for a live replication: one whenever its state changes, or it is up to date again."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] | None = None

    def heard(self, **progress: ReplicationProgress) -> None:
        """Take what each direction is at; writes a line if that is news."""
        news = tuple((each.state, each.state == "idle" and each.docs_written) for each in progress.values())
        if news != self._last:
            self._last = news
            shown = {label: summary(each) for label, each in progress.items()}
            write_json(next(iter(shown.values())) if len(shown) == 1 else shown, lines=True)
