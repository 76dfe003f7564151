"""Training of the PixelCNN that is told the neighbouring slice."""

import math

import pytest
import torch
from small_neighbours import (
    CODES,
    GRID,
    KINDS,
    LAYOUT,
    POSITIONS,
    SIZES,
    stacks,
    tiny_neighbour,
    tiny_start,
)
from small_pixelcnn import AGES, random_maps
from small_trainings import (
    Interrupted,
    interrupt_at,
    same_weights,
    spy_on_resume_files,
    tensors_of,
)

from oasis_utils.config import NeighbourConfig, TrainingConfig
from oasis_utils.data.batches import Batches
from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.neighbour_pixelcnn import (
    ABOVE,
    BELOW,
    NO_SLICE,
    NeighbourPixelCNN,
    chosen_neighbours,
)
from oasis_utils.runtime import RunFolder, seed_everything
from oasis_utils.training.loop import fit


@pytest.fixture(params=KINDS, scope="module")
def model(request):
    """Of each kind in turn; the tests leave it as it is."""
    return tiny_neighbour(**KINDS[request.param])


def test_the_neighbour_is_the_one_that_exists_and_either_where_there_are_two():
    batch = stacks(50)
    at, below, above = batch["positions"], batch["below"].long(), batch["above"].long()
    torch.manual_seed(0)
    for upwards in (None, torch.rand(200) < 0.5):
        found = chosen_neighbours(batch, upwards)
        assert found.indices.min() >= 0 and found.layouts is None
        assert (found.sides[at == 0] == ABOVE).all()
        assert (found.sides[at == POSITIONS - 1] == BELOW).all()
        inner = (at > 0) & (at < POSITIONS - 1)
        wanted = torch.zeros(200, dtype=torch.bool) if upwards is None else upwards
        assert torch.equal(found.sides[inner] == ABOVE, wanted[inner])
        from_above = (found.sides == ABOVE)[:, None, None]
        assert torch.equal(found.indices, torch.where(from_above, above, below))


def watch_what_is_read(model, monkeypatch):
    """What a step reads: (maps, neighbours), in a list."""
    read, forward = [], model.forward

    def watched(indices, positions, ages, neighbours):
        read.append((indices, neighbours))
        return forward(indices, positions, ages, neighbours)

    monkeypatch.setattr(model, "forward", watched)
    return read


def test_only_training_reads_noisy_maps_and_either_neighbour(monkeypatch):
    model = tiny_neighbour(context_noise=0.5)
    batch, read = stacks(50), watch_what_is_read(model, monkeypatch)
    torch.manual_seed(0)
    model.step(batch, "likelihood")
    model.train().step(batch, "likelihood")
    (maps, calm), (noisy, either) = read
    assert torch.equal(maps, batch["indices"]) and not torch.equal(noisy, maps)
    assert torch.equal(calm.indices, chosen_neighbours(batch).indices)
    inner = (batch["positions"] > 0) & (batch["positions"] < POSITIONS - 1)
    assert (calm.sides[inner] == BELOW).all()
    assert 0.3 < float(either.sides[inner].float().mean()) < 0.7
    right = chosen_neighbours(batch, either.sides == ABOVE)
    assert torch.equal(right.sides, either.sides)
    wrong = (right.indices != either.indices).float().mean()
    assert 0.05 < float(wrong) < 0.14  # half of neighbour_noise, less what is right by chance
    assert either.indices.min() >= 0 and either.indices.max() < CODES


def test_without_noise_training_reads_the_maps_as_they_are(monkeypatch):
    start = tiny_start(context_noise=0.0)
    config = NeighbourConfig(neighbour_noise=0.0).sized_as(start.config)
    model, batch = NeighbourPixelCNN(config).train(), stacks()
    read = watch_what_is_read(model, monkeypatch)
    model.step(batch, "likelihood")
    ((maps, neighbours),) = read
    assert torch.equal(maps, batch["indices"])
    right = chosen_neighbours(batch, neighbours.sides == ABOVE)
    assert torch.equal(right.indices, neighbours.indices)


def test_the_layouts_that_a_step_tells_are_those_of_the_predicted_maps(monkeypatch):
    model, batch = tiny_neighbour(**KINDS["layouts and ages"]), stacks(50)
    read = watch_what_is_read(model, monkeypatch)
    model.step(batch, "likelihood")
    numbers, _ = model.layout.measure(batch["indices"], batch["positions"], batch["ages"])
    away = read[0][1].layouts - numbers
    known = batch["ages"].isfinite()
    assert torch.equal(away[known, 0], torch.zeros(int(known.sum())))
    assert float(away[:, 1:].std()) == pytest.approx(model.config.layout_noise, rel=0.1)


def test_every_parameter_learns():
    model = tiny_neighbour(layout=LAYOUT, **AGES, age_dropout=0.3).train()
    torch.manual_seed(0)
    model.step(stacks(), "likelihood")["loss"].backward()
    still = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_validation_is_the_mean_over_all_cells_and_needs_no_ages(model):
    batch = stacks()
    if not model.config.knows_age:  # data that have ages
        assert torch.equal(
            model.surprisal_of(batch),
            model.surprisal_of({k: v for k, v in batch.items() if k != "ages"}),
        )
    nats = model.surprisal_of(batch)
    found = model.validate([batch])
    assert found == {"nats_per_code": pytest.approx(float(nats.mean()), rel=1e-5)}
    told_it = chosen_neighbours(batch)
    if model.layout is None:
        with torch.no_grad():
            ages = batch["ages"] if model.config.knows_age else None
            logits = model(batch["indices"], batch["positions"], ages, told_it)
        expected = -logits.log_softmax(1).gather(1, batch["indices"][:, None])[:, 0]
        torch.testing.assert_close(nats, expected)


def fit_neighbour(run, **options):
    """Trains from random weights on tiny stacks; with layouts and Muon."""
    config = NeighbourConfig(stack_directions=3, **SIZES | KINDS["layouts and ages"])
    model, known = NeighbourPixelCNN(config), stacks(4)
    codebook = torch.randn(CODES, 3, generator=torch.Generator().manual_seed(4))
    model.layout.fit(codebook, known["indices"], known["positions"], known["ages"])
    schedule = TrainingConfig(
        epochs=3, batch_size=4, warmup_steps=3, ema_decay=0.9, weight_decay=0.01, muon_rate=0.02
    )
    train = Batches(known, 4, shuffle=True)
    return fit(model, train, Batches(stacks(1, seed=5), 4), schedule, run, "model", **options)


@pytest.mark.parametrize("epoch", [1, 2])
def test_interrupted_training_ends_bit_for_bit_as_a_whole_one(tmp_path, monkeypatch, epoch):
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    states = spy_on_resume_files(monkeypatch)
    seed_everything(1)
    expected, history = fit_neighbour(whole)
    expected_state = tensors_of(states[3])
    seed_everything(1)
    with pytest.raises(Interrupted):
        fit_neighbour(broken, on_epoch=interrupt_at(epoch))
    seed_everything(1 if epoch == 1 else 99)  # of the second epoch on, only what was saved tells
    resumed, again = fit_neighbour(broken)
    assert same_weights(resumed, expected) and tensors_of(states[3]) == expected_state
    assert [r["nats_per_code"] for r in again] == [r["nats_per_code"] for r in history]
    assert all(math.isfinite(r["nats_per_code"]) for r in history)


def test_a_short_training_copies_its_neighbour():
    """Heads whose slices are alike: what cannot be guessed without the neighbour is read there."""
    batch = stacks(16)
    alike = batch["indices"].view(16, POSITIONS, GRID, GRID)[:, :1].expand(-1, POSITIONS, -1, -1)
    batch["indices"] = alike.reshape(-1, GRID, GRID)
    for side in ("below", "above"):
        there = batch[side][:, :1, :1] != NO_SLICE
        batch[side] = torch.where(there, batch["indices"].int(), NO_SLICE)
    torch.manual_seed(0)
    config = NeighbourConfig(**SIZES | dict(dropout=0.0), neighbour_noise=0.0)
    model = NeighbourPixelCNN(config).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model.step(batch, "likelihood")["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.2 * math.log(CODES)
    model.eval()
    new = random_maps(POSITIONS, GRID, CODES, seed=77)  # of no training head
    sides = torch.tensor([ABOVE, BELOW, ABOVE, BELOW])
    drawn = model.sample(
        torch.arange(POSITIONS),
        model.noise([1, 2, 3, 4]),
        chosen_neighbours({"below": new, "above": new})._replace(sides=sides),
        SamplingOptions(temperature=0.0),
    )
    assert (drawn == new).float().mean() > 0.8  # by chance: a tenth
