"""Regular expressions of strangers: RE2, which takes time linear in the text, whatever the expression.

Selectors come from peers and run between other people's requests, some inside a write transaction, so an expression
must not be able to take for ever. The standard library's ``re`` backtracks and holds the interpreter's lock while it
does. ``regex`` backtracks too; it has a time limit, but per match (a feed of a million documents has a million), and
its stack grows with the text. RE2 does not backtrack, its memory has a limit, and the interpreter's lock is free while
it searches. It costs look-around and back-references, which CouchDB (PCRE) and PouchDB (JavaScript) have: a selector
with one of them is refused here with an error that says so.

Linear still means text times expression. :data:`MAX_STEPS` bounds that product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import re2

MAX_LENGTH: Final = 4096
"""Characters of one expression. Handwritten ones are far shorter."""

MAX_MEMORY: Final = 1 << 20
"""Bytes that RE2 may use for one expression, program and automata; RE2's cache holds at most 128 expressions."""

MAX_STEPS: Final = 1 << 30
"""Bytes of text times instructions of the expression. RE2's slowest engine does about 3e8 a second, so a single match
ends within some seconds; ordinary expressions (50 instructions) reach this with a text of 20 MB."""


class PatternError(ValueError):
    """An expression that RE2 does not take, or that costs too much on a text; the message is a sentence."""


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = MAX_MEMORY
    # RE2 would write to standard error.
    options.log_errors = False
    options.never_capture = True
    return options


_OPTIONS = _options()


def compile_pattern(source: str) -> Callable[[str], bool]:
    """A function that tells whether the expression matches anywhere in a text.

    Raises:
        PatternError: here, for an expression that RE2 refuses; by the function, for a text so long that this
            expression could take more than :data:`MAX_STEPS`.
    """
    if len(source) > MAX_LENGTH:
        raise PatternError(f"the expression has more than {MAX_LENGTH} characters")
    try:
        pattern = re2.compile(source.encode(), _OPTIONS)
    except UnicodeEncodeError:
        raise PatternError("the expression has a lone surrogate") from None
    except re2.error as error:
        detail = (
            error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else str(error)
        )
        raise PatternError(f"{detail} (RE2 syntax: no look-around, no back-references)") from None
    search = pattern.search
    longest = MAX_STEPS // max(1, pattern.programsize)

    def matches(text: str) -> bool:
        data = text.encode()
        if len(data) > longest:
            raise PatternError(f"the expression is too costly for a text of {len(data)} bytes")
        return search(data) is not None

    return matches
