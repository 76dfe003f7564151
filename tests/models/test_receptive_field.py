"""Causality of the PixelCNN cell by cell, and the blind spot of a naive stack."""

import itertools

import pytest
import torch
from small_pixelcnn import random_maps, tiny

from oasis_utils.models.receptive_field import (
    fields_by_block,
    kernel_cells,
    naive_receptive_field,
    receptive_field,
)

# ------------------------------------------------------------ causality


def dependence(model):
    """[i, j]: do the logits of cell i depend on the code in cell j? Cells are counted in raster
    order.
    """
    model = model.double()
    caught = []
    hook = model.embedding.register_forward_hook(
        lambda _module, _inputs, output: caught.append(output)
    )
    grid = model.config.grid
    logits = model(random_maps(1, grid, model.config.n_codes), torch.tensor([1]))
    hook.remove()
    direction = torch.randn(model.config.n_codes, generator=torch.Generator().manual_seed(0))
    outputs = (logits[0] * direction[:, None, None]).sum(0).flatten()
    slopes = torch.stack(
        [torch.autograd.grad(out, caught[0], retain_graph=True)[0][0] for out in outputs]
    )
    return (slopes != 0).any(-1).flatten(1)


def earlier(grid):
    return torch.ones(grid * grid, grid * grid).tril(-1).bool()


@pytest.mark.parametrize(
    "options",
    [
        dict(blocks=1),
        dict(blocks=2),
        dict(blocks=3),
        dict(blocks=2, first_kernel=3, kernel=5),
        dict(blocks=2, first_kernel=7, kernel=1),
        dict(blocks=8, first_kernel=3),
    ],
)
def test_no_cell_depends_on_itself_or_a_later_cell(options):
    found = dependence(tiny(**options))
    assert not (found & ~earlier(6)).any()
    assert found[1:].any(1).all()  # every cell but the first depends on something


@pytest.mark.parametrize(
    "options",
    [
        dict(blocks=6, first_kernel=5),
        dict(blocks=8, first_kernel=3),
        dict(blocks=4, first_kernel=7),
        dict(blocks=4, first_kernel=3, kernel=5),
    ],
)
def test_enough_blocks_see_every_earlier_cell_without_blind_spot(options):
    assert torch.equal(dependence(tiny(**options)), earlier(6))


@pytest.mark.parametrize("width", [3, 5, 7])
def test_a_single_block_sees_the_window_of_its_kernel(width):
    grid, reach = 6, width // 2
    cells = torch.arange(grid * grid)
    down = cells[:, None] // grid - cells // grid
    across = cells[:, None] % grid - cells % grid
    above = (down >= 1) & (down <= reach) & (across.abs() <= reach)
    left = (down == 0) & (across >= 1) & (across <= reach)
    assert torch.equal(dependence(tiny(blocks=1, first_kernel=width)), above | left)


def test_receptive_fields_only_grow_with_more_blocks():
    fields = [dependence(tiny(blocks=blocks, first_kernel=3)) for blocks in (1, 2, 3, 4)]
    for small, large in itertools.pairwise(fields):
        assert (large | ~small).all() and large.sum() > small.sum()


@pytest.mark.parametrize(("row", "col"), [(0, 0), (0, 3), (2, 0), (3, 4), (5, 5)])
def test_receptive_field_of_a_cell(row, col):
    model = tiny(blocks=6)
    field = receptive_field(model, row, col)
    assert torch.equal(field.flatten(), earlier(6)[row * 6 + col])


def test_changing_later_codes_does_not_change_a_logit():
    model, maps, positions = tiny().double(), random_maps(2), torch.tensor([0, 3])
    changed = maps.clone()
    changed[:, 3, 2] = (changed[:, 3, 2] + 1) % 10
    difference = (model(maps, positions) - model(changed, positions)).abs().amax((0, 1)).flatten()
    assert difference[: 3 * 6 + 3].max() == 0 and difference[3 * 6 + 3] > 0


# ------------------------------------------------------------ blind spot


def test_the_naive_stack_has_a_blind_spot_that_ours_has_not():
    naive, ours = naive_receptive_field(8, 6, 4, 2), receptive_field(tiny(blocks=6), 4, 2)
    missed = {tuple(cell) for cell in (ours & ~naive).nonzero().tolist()}
    assert missed == {(3, 4), (3, 5), (2, 5)}  # above, ever further to the right
    assert not (naive & ~ours).any()


# ------------------------------------------------------------ kernels and blocks


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("width", [3, 5, 7])
def test_cells_of_a_kernel_are_those_that_its_stack_reads(number, width):
    model, grid, middle = tiny(grid=12, blocks=2, first_kernel=width, kernel=width), 12, 6
    block, inputs = model.gated_blocks[number], torch.randn(2, 1, 8, grid, grid)
    vertical, horizontal = (x.requires_grad_() for x in inputs.unbind())
    zero = torch.zeros(1, 16, 1, 1)
    out_vertical, out_horizontal = block(vertical, horizontal, (zero, zero))
    reach = slice(middle - width // 2, middle + width // 2 + 1)
    # all weights reach the gates; the residual connection adds no other cell
    slopes = [
        torch.autograd.grad(out[0, :, middle, middle].sum(), of, retain_graph=True)[0]
        for out, of in ((out_vertical, vertical), (out_horizontal, horizontal))
    ]
    for slope, cells in zip(slopes, kernel_cells(block), strict=True):
        seen = slope[0].abs().sum(0) > 0
        assert torch.equal(seen[reach, reach], cells) and seen.sum() == cells.sum()


def test_fields_by_block_grow_to_the_receptive_field():
    model = tiny(grid=12, blocks=4, first_kernel=3).train()
    fields = fields_by_block(model, 6, 6)
    assert fields.shape == (4, 12, 12) and model.blocks[0].dropout.training
    for small, large in itertools.pairwise(fields):
        assert (large | ~small).all() and large.sum() > small.sum()
    assert torch.equal(fields[-1], receptive_field(model, 6, 6))
