"""Looks for secrets wherever they might show: logs, errors, ``repr``, arguments of processes, a hub's files."""

from __future__ import annotations

import base64
import gc
import logging
import os
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote


def spellings(secret: bytes) -> set[bytes]:
    """A secret as it is, and as it looks in the encodings that texts, headers, files and ``repr`` use.

    Base64 of a longer text that contains it begins at one of three places in it, so all three are looked for, without
    the characters at either end that depend on the neighbours.
    """
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret)[2:-1].encode()}
    found.add(quote(secret).encode())
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + secret)
        inner = text[(0, 2, 3)[shift] : len(text) - 4]
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return {spelling for spelling in found if len(spelling) >= 8}


class Evidence(logging.Handler):
    """Collects, by channel, all that is shown. As a handler it takes what any logger says."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.shown: dict[str, list[str]] = {"logs": [], "errors": [], "reprs": [], "arguments": []}
        self.folders: dict[str, tuple[Path, frozenset[str]]] = {}
        self._formatter = logging.Formatter("%(name)s %(levelname)s %(threadName)s %(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        # What the handlers of users write, and what those could write that look at the record's parts.
        self.shown["logs"].append(self._formatter.format(record) + repr(record.args))

    def error(self, error: BaseException) -> None:
        """Note an error with its causes, as it is shown and as it could be."""
        seen: BaseException | None = error
        self.shown["errors"].append("".join(traceback.format_exception(error)))
        while seen is not None:
            self.shown["errors"].append(f"{seen!r} {seen} {seen.args!r} {vars(seen)!r}")
            # What was suppressed is not shown by anything that shows errors.
            seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)

    async def fails(self, attempt: Callable[[], Any]) -> BaseException:
        """Note the error that an attempt ends in."""
        try:
            result = attempt()
            if hasattr(result, "__await__"):
                result = await result
        except Exception as error:
            self.error(error)
            return error
        raise AssertionError(f"It did not fail, and gave {type(result)}.")

    def objects(self) -> None:
        """Note ``repr`` of every object of peerpouch's own classes that is alive."""
        for thing in gc.get_objects():
            kind = type(thing)
            module: object = kind.__module__
            # Some classes of extensions and mocks have a descriptor there.
            if (
                isinstance(module, str)
                and module.partition(".")[0] == "peerpouch"
                and "__repr__" in {name for base in kind.__mro__[:-1] for name in vars(base)}
            ):
                self.shown["reprs"].append(repr(thing))

    def processes(self) -> None:
        """Note the arguments of all processes below this one, as anybody on the machine can read them."""
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    status = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                parents.setdefault(int(status[1]), []).append(int(entry.name))
        waiting = list(parents.get(os.getpid(), ()))
        while waiting:
            pid = waiting.pop()
            waiting += parents.get(pid, ())
            try:
                self.shown["arguments"].append(
                    (Path("/proc") / str(pid) / "cmdline").read_bytes().decode(errors="replace")
                )
            except OSError:
                continue

    def look_into(self, channel: str, folder: Path, *, leave_out: frozenset[str] = frozenset()) -> None:
        """Have the files of a folder searched, but those of these names."""
        self.folders[channel] = (folder, leave_out)

    def around(self, channel: str, secret: bytes) -> list[str]:
        """The beginnings of what shows a secret, for whoever has to find out why."""
        found = spellings(secret)
        texts = (text.encode(errors="replace") for text in self.shown.get(channel, ()))
        return [repr(text[:300]) for text in texts if any(spelling in text for spelling in found)]

    def find(self, secrets: Mapping[str, bytes]) -> set[tuple[str, str]]:
        """Which secrets show in which channels."""
        found: set[tuple[str, str]] = set()
        contents = {channel: "\0".join(texts).encode(errors="replace") for channel, texts in self.shown.items()}
        for channel, (folder, left_out) in self.folders.items():
            files = [path for path in folder.rglob("*") if path.is_file() and path.name not in left_out]
            contents[channel] = b"\0".join(path.read_bytes() for path in files)
        for name, secret in secrets.items():
            for channel, content in contents.items():
                if any(spelling in content for spelling in spellings(secret)):
                    found.add((channel, name))
        return found


@contextmanager
def everything_logged() -> Iterator[Evidence]:
    """Every logger at DEBUG, those too that are made meanwhile or that hand nothing on to the root."""
    evidence = Evidence()
    root = logging.getLogger()
    before = {logger: (logger.level, logger.disabled) for logger in _loggers()}
    attached: list[logging.Logger] = []

    def attach() -> None:
        for logger in _loggers():
            logger.setLevel(logging.DEBUG)
            logger.disabled = False
            if (logger is root or not logger.propagate) and logger not in attached:
                logger.addHandler(evidence)
                attached.append(logger)

    attach()
    evidence.attach_more = attach  # type: ignore[attr-defined]
    try:
        yield evidence
    finally:
        for logger in attached:
            logger.removeHandler(evidence)
        for logger, (level, disabled) in before.items():
            logger.setLevel(level)
            logger.disabled = disabled


def _loggers() -> list[logging.Logger]:
    known = logging.root.manager.loggerDict.values()
    return [logging.getLogger(), *(logger for logger in known if isinstance(logger, logging.Logger))]
