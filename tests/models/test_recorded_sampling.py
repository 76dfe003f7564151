"""The recorded sampler of the PixelCNN: kept steps, changed weights, threads."""

import math
import threading
import warnings

import pytest
import torch
from gpu_helpers import inputs, needs_gpu, one_by_one, prior
from small_pixelcnn import AGES, random_maps

from oasis_utils.config import TrainingConfig
from oasis_utils.models import kept_steps as incremental
from oasis_utils.models.cached_sampling import RowCache
from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.models.kept_steps import MOST_KEPT_STEPS, Step
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.training.trainer import Trainer

OPTIONS = [
    SamplingOptions(temperature, top_k, top_p)
    for temperature in (0.0, 1.0, 0.7)
    for top_k in (0, 4)
    for top_p in (1.0, 0.8)
]


# ---------------------------------------------------------------- the recorded sampler


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_recorded_steps_draw_the_codes_of_single_kernels(device, options):
    model = prior(device)
    positions, noise = inputs(model)
    expected = one_by_one(model, positions, noise, options)
    for _ in range(2):  # the second time with the step that was kept
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # such as a capture that failed
            assert torch.equal(model.sample(positions, noise, options), expected)
    (step,) = model.kept_steps._steps.values()
    assert (step.graph is not None) == (device.type == "cuda")


def test_a_step_is_made_once_for_each_batch_size_and_rule(device, monkeypatch):
    """Sliders change temperature, top-k, top-p, position and seed."""
    made, begin = [], Step.__init__
    monkeypatch.setattr(
        Step, "__init__", lambda self, *args, **names: made.append(1) or begin(self, *args, **names)
    )
    model = prior(device)
    for moved, options in enumerate(
        [SamplingOptions(0.5 + 0.1 * i, 2 + i, 0.5 + 0.05 * i) for i in range(5)]
    ):
        positions, noise = inputs(model, seed=moved)
        positions = (positions + moved) % model.config.n_positions
        assert torch.equal(
            model.sample(positions, noise, options), one_by_one(model, positions, noise, options)
        )
    assert len(made) == 1 + 5  # that of the model, and those of `one_by_one`
    model.sample(*inputs(model, batch=2))
    assert len(made) == 2 + 5 and len(model.kept_steps) == 2


def test_few_steps_are_kept(device):
    model = prior(device)
    for batch in range(1, MOST_KEPT_STEPS + 4):
        model.sample(*inputs(model, batch))
    assert len(model.kept_steps) == MOST_KEPT_STEPS


def change_by_hand(model):
    with torch.no_grad():
        model.blocks[1].output.weight.mul_(1.5)


def change_by_training(model):
    trainer = Trainer(model.train(), TrainingConfig(learning_rate=0.1, warmup_steps=0), 10)
    maps = random_maps(4).to(model.cell_bias.device)
    trainer.step(
        {"indices": maps, "positions": torch.zeros(4, dtype=torch.long, device=maps.device)}
    )
    model.eval()


def change_by_loading(model):
    torch.manual_seed(9)
    model.load_state_dict(PixelCNN(model.config).state_dict())


@pytest.mark.parametrize("change", [change_by_hand, change_by_training, change_by_loading])
def test_changed_weights_draw_other_codes(device, change):
    model = prior(device)
    positions, noise = inputs(model)
    before = model.sample(positions, noise)
    change(model)
    after = model.sample(positions, noise)
    assert torch.equal(after, one_by_one(model, positions, noise, SamplingOptions()))
    assert not torch.equal(after, before)


def test_kept_steps_serve_callers_of_any_mode(device):
    """What was made under inference mode could not be written to outside of it."""
    model = prior(device, **AGES)
    positions, noise = inputs(model)
    ages, given = torch.full((5,), 60.0, device=device), random_maps(5).to(device)
    drawn = []
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            drawn.append(model.sample(positions.clone(), noise.clone(), ages=ages.clone()))
            model.sample(
                positions, noise, given=given, keep=given > 4, ages=ages
            )  # leaves nothing behind
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])
    assert len(model.kept_steps) == 1


def test_a_drawing_that_is_stopped_leaves_nothing_behind(device):
    model = prior(device)
    positions, noise = inputs(model)
    expected = model.sample(positions, noise)

    def stop(row, _maps):
        if row == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.sample(positions, 1 - noise, on_row=stop)
    assert torch.equal(model.sample(positions, noise), expected)


@pytest.mark.parametrize("options", [{}, AGES])
def test_cached_logits_equal_the_forward_pass(device, options):
    """With TF32 they would differ by some thousandths of their size."""
    model, maps = (
        prior(device, grid=12, channels=64, blocks=6, **options),
        random_maps(4, 12).to(device),
    )
    positions, found = torch.arange(4, device=device), []
    ages = torch.tensor([30.0, math.nan, 81.0, 55.0], device=device) if options else None
    with torch.no_grad():
        cache = RowCache(model, positions, ages)
        for row in range(12):
            cache.start_row(row, maps[:, row - 1] if row else None)
            for col in range(12):
                found.append(cache.logits().clone())
                cache.accept(maps[:, row, col])
        full = model(maps, positions, ages)
    torch.testing.assert_close(torch.stack(found, 2).view_as(full), full, atol=1e-3, rtol=1e-3)


@needs_gpu
def test_memory_does_not_grow_from_draw_to_draw(cuda):
    model, held = prior(cuda), []
    for number in range(40):
        positions, noise = inputs(model, seed=number)
        model.sample(positions, noise, SamplingOptions(0.5 + 0.01 * number, top_p=0.9))
        torch.cuda.synchronize()
        held.append(torch.cuda.memory_allocated())
    assert held[-1] <= held[1]


# ---------------------------------------------------------------- threads


@pytest.mark.parametrize("name", ["PixelCNN", "DCGAN"])
def test_threads_that_draw_at_once_get_what_they_would_get_alone(
    device, name, samplers, monkeypatch
):
    from oasis_utils.models.sampler import BrainSampler

    np = pytest.importorskip("numpy")
    sampler = BrainSampler(samplers[name].vqvae.to(device), samplers[name].prior.to(device))
    jobs = [[seed * 10 + i for i in range(4)] for seed in range(4)]

    def job(seeds):
        maps = sampler.draw(np.arange(4), seeds)
        return maps, sampler.decode(maps)

    alone = [job(seeds) for seeds in jobs]
    if name == "PixelCNN":
        sampler.prior.kept_steps = (
            incremental.KeptSteps()
        )  # all threads want to record one at the same time
    found, barrier, failures = {}, threading.Barrier(len(jobs)), []

    def work(number):
        try:
            barrier.wait(30)
            for _ in range(3):
                found[number] = job(jobs[number])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    for number, expected in enumerate(alone):
        assert all((a == b).all() for a, b in zip(found[number], expected, strict=True))


def test_a_drawing_may_decode_its_rows(device, samplers):
    np = pytest.importorskip("numpy")
    from oasis_utils.models.sampler import BrainSampler

    sampler, seen = (
        BrainSampler(
            *(m.to(device) for m in (samplers["PixelCNN"].vqvae, samplers["PixelCNN"].prior))
        ),
        [],
    )
    sampler.draw(
        np.zeros(2, int),
        [1, 2],
        on_row=lambda row, maps: seen.append(sampler.decode(maps.cpu().numpy())),
    )
    assert len(seen) == 4 and seen[0].shape == (2, 32, 32)
