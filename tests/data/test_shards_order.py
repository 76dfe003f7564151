"""Orders of the rows of shards: each row once, decided by (seed, epoch), found at any place."""

import numpy as np
import pytest
from shard_files import WholeOrder

from oasis_utils.data.shards_order import BlockOrder, MixedOrder
from oasis_utils.runtime import DataError

SIZES = (5, 8, 3, 8, 8, 7)
ORDERS = {
    "whole": lambda seed=0: WholeOrder(sum(SIZES), seed),
    "blocks": lambda seed=0: BlockOrder(SIZES, seed, block=2),
    "mixed": lambda seed=0: MixedOrder(
        [BlockOrder(SIZES, seed), BlockOrder((9, 9), seed)], (sum(SIZES), 18), (2, 1), seed
    ),
}


def rows_of(order, epoch, start=0, stop=10**9):
    return order.part(epoch, start, stop).rows.tolist()


@pytest.mark.parametrize("name", ["whole", "blocks"])
def test_epoch_has_every_row_once(name):
    for epoch in range(3):
        rows = rows_of(ORDERS[name](), epoch)
        assert sorted(rows) == list(range(sum(SIZES))) and rows != sorted(rows)


@pytest.mark.parametrize("name", ORDERS)
def test_order_depends_on_seed_and_epoch_alone(name):
    order = ORDERS[name](3)
    fourth = rows_of(order, 4)
    assert fourth == rows_of(ORDERS[name](3), 4)
    assert fourth != rows_of(order, 5) and fourth != rows_of(ORDERS[name](4), 4)


@pytest.mark.parametrize("name", ORDERS)
def test_any_part_is_found_without_those_before(name):
    order = ORDERS[name]()
    whole = order.part(1, 0, order.size)
    for start in range(0, order.size, 7):
        part = ORDERS[name]().part(1, start, start + 7)
        assert part.rows.tolist() == whole.rows[start : start + 7].tolist()
        assert part.flips.tolist() == whole.flips[start : start + 7].tolist()


@pytest.mark.parametrize("name", ORDERS)
def test_about_half_of_the_rows_are_mirrored_afresh(name):
    order = ORDERS[name]()
    flips = np.concatenate([order.part(epoch, 0, order.size).flips for epoch in range(20)])
    assert 0.4 < flips.mean() < 0.6
    first, second = (dict(zip(*order.part(epoch, 0, order.size), strict=True)) for epoch in (0, 1))
    assert any(first[row] != second[row] for row in first.keys() & second.keys())


def test_rows_of_few_shards_come_together():
    order = BlockOrder((10,) * 8, block=2)
    rows = np.array(rows_of(order, 0)).reshape(4, 20)
    assert all(len(set(block // 10)) == 2 for block in rows)
    assert any((block[:10] // 10).std() > 0 for block in rows)  # and are shuffled


def test_mixture_has_its_shares_exactly_and_each_row_once_in_an_epoch_of_its_set():
    sizes = (3000, 500)
    orders = [BlockOrder((100,) * (n // 100)) for n in sizes]
    order = MixedOrder(orders, sizes, (3, 1), size=8192)
    rows = order.part(0, 0, 8192).rows
    small = rows[rows >= 3000] - 3000
    assert len(small) == 2048  # a quarter of two periods
    for start in range(0, 2000, 500):
        assert sorted(small[start : start + 500]) == list(range(500))
    large = rows[rows < 3000]
    assert sorted(large[:3000]) == list(range(3000))
    assert 0.2 < (rows[:512] >= 3000).mean() < 0.3  # mixed, not one set after the other
    following = order.part(1, 0, 8192).rows
    assert sorted([*small[2000:], *(following[following >= 3000] - 3000)[:452]]) == [*range(500)]


def test_weights_count_by_their_shares():
    orders = [BlockOrder((10,)), BlockOrder((10,)), BlockOrder((10,))]
    mixed = [MixedOrder(orders, (10,) * 3, w) for w in ((0.5, 0.3, 0.2), (5, 3, 2))]
    assert rows_of(mixed[0], 0) == rows_of(mixed[1], 0)
    assert mixed[0].counts.sum() == 4096


@pytest.mark.parametrize("weights", [(1, 0), (1, -1), (1, float("nan")), (1,), (1e6, 1)])
def test_impossible_weights_are_refused(weights):
    orders = [BlockOrder((10,)), BlockOrder((10,))]
    with pytest.raises(DataError, match="weight"):
        MixedOrder(orders, (10, 10), weights)
