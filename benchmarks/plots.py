"""A plot of one benchmark as SVG: a bar for each subject's median, with the range of its rounds."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.results import Result, number

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 760, 220, 120, 26, 44
_COLOURS = {"peer": "#9aa5b1", "limit": "#d9dee3", "other": "#2f6f9f"}


def plot(group: Sequence[Result]) -> str:
    """The picture of a benchmark's results."""
    first = group[0]
    most = max((value for result in group for value in result.values), default=1.0) or 1.0
    better = "more is better" if first.higher_is_better else "less is better"
    height = _TOP + _ROW * len(group) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" '
        'font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        _text(12, 24, f"{first.title} ({first.unit}, {better})", weight="bold"),
        *(line for row, result in enumerate(group) for line in _bar(result, _TOP + row * _ROW, most)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _bar(result: Result, top: int, most: float) -> list[str]:
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    lines = [_text(_LEFT - 10, top + 16, result.subject, anchor="end")]
    if result.median is None:
        return [*lines, _text(_LEFT, top + 16, "failed")]
    end, middle = _LEFT + result.median * scale, top + 11
    low, high = (_LEFT + value * scale for value in (min(result.values), max(result.values)))
    colour = _COLOURS[result.role]
    return [
        *lines,
        f'<rect x="{_LEFT}" y="{top + 2}" width="{max(1.0, end - _LEFT):.1f}" height="18" fill="{colour}"/>',
        f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8" stroke="black"/>',
        _text(max(end, high) + 8, top + 16, number(result.median)),
    ]


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'
