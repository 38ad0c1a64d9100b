from __future__ import annotations

import itertools
from dataclasses import fields

import pytest

from tests.network.cells import BIGGEST, SMALLEST, Cell, matrix, pairwise


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
