from __future__ import annotations

import itertools
from dataclasses import fields

import pytest

from tests.network.cells import BIGGEST, ENGINES, SMALLEST, Cell, matrix, other_engines, pairwise


def test_the_matrix_has_every_combination_once() -> None:
    cells = matrix()
    assert len(cells) == len(set(cells)) == 5 * 4 * 3 * 2 * 2 * 2 + 1


@pytest.mark.parametrize("seed", range(3))
def test_every_two_values_meet_in_the_selection(seed: int) -> None:
    chosen = pairwise(seed)
    assert chosen == pairwise(seed)
    assert len(chosen) < 30
    for one, other in itertools.combinations([field.name for field in fields(Cell)], 2):
        whole, met = (
            {(getattr(cell, one), getattr(cell, other)) for cell in cells if cell.path != "loopback"}
            for cells in (matrix(), chosen)
        )
        assert met == whole


def test_other_seeds_choose_other_cells() -> None:
    assert pairwise(1) != pairwise(2)


def test_attachments_are_large_where_the_path_is_clean_and_small_in_the_worst_cell() -> None:
    assert Cell("direct").attachment == BIGGEST
    assert Cell("relay", 300, 5, 1, True, 1280).attachment == SMALLEST


@pytest.mark.parametrize("seed", range(3))
def test_the_second_engine_meets_every_value_and_in_the_selection_every_path(seed: int) -> None:
    whole = other_engines(seed, everything=True)
    for name in ("path", "latency", "loss", "rate", "reorder", "largest"):
        values = {getattr(cell, name) for cell in matrix()}
        assert {(cell.engines, getattr(cell, name)) for cell in whole} == {(e, v) for e in ENGINES for v in values}
    chosen = other_engines(seed, everything=False)
    assert {cell.engines for cell in chosen} == set(ENGINES)
    assert {cell.path for cell in chosen} == {cell.path for cell in matrix()}
    assert len(chosen) == 6 and len(whole) < 40
