"""Without other processes every sum, copy and part is the own value; and who gets which device."""

import pytest
import torch
from small_trainings import line_batches

from oasis_utils.models.quantizer import random_rows, random_rows_of_all
from oasis_utils.runtime import processes
from oasis_utils.training.averaging import of_joined_batch


def test_a_single_process_gets_its_own_values_back():
    value = torch.randn(3, 2)
    assert (processes.count(), processes.rank(), processes.is_first()) == (1, 0, True)
    assert processes.summed(value) is value and processes.from_first(value) is value
    assert processes.mean(value, 7) is value and processes.gathered_rows(value) is value
    assert processes.numbers(5) == [5] and processes.totals([1, 2.5]) == [1, 2.5]
    assert processes.ratio(3, 4) == 0.75
    note = {"a": [1, None, 0.1]}
    assert processes.agreed(note) is note and processes.gathered(note) == [note]
    assert list(processes.in_turn("abc")) == [(0, "a"), (1, "b"), (2, "c")]
    with processes.in_group(torch.device("cpu")), processes.alone():
        processes.wait()
        processes.make_equal([value])
    weight = torch.nn.Parameter(torch.ones(2))
    losses = {"loss": weight.sum()}
    losses["loss"].backward()
    assert of_joined_batch([weight], losses, 4) is losses and weight.grad.tolist() == [1, 1]


def test_a_single_process_draws_rows_as_before():
    points = torch.randn(50, 3)
    torch.manual_seed(0)
    expected = random_rows(points, 9)
    torch.manual_seed(0)
    assert torch.equal(random_rows_of_all(points, 9), expected)


def test_own_seeds_differ_between_seeds_and_epochs_and_repeat():
    found = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0), (2**32 - 1, 10**6), (0, 0)):
        processes.seed_own(seed, epoch)
        found.append(float(torch.rand(())))
    assert found[0] == found[-1] and len(set(found)) == 4


@pytest.mark.parametrize(
    ("name", "gpus", "expected"),
    [("auto", 4, "cuda:1"), ("cuda", 2, "cuda:1"), ("cpu", 4, "cpu"), ("auto", 0, "auto")],
)
def test_each_process_takes_a_gpu(monkeypatch, name, gpus, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert processes.own_device(name) == name  # alone
    for key, value in (("RANK", 3), ("WORLD_SIZE", 4), ("LOCAL_RANK", 1), ("LOCAL_WORLD_SIZE", 2)):
        monkeypatch.setenv(key, str(value))
    assert processes.launched() and processes.own_device(name) == expected


@pytest.mark.parametrize(("name", "gpus"), [("auto", 1), ("cuda:0", 4), ("cuda", 0)])
def test_processes_do_not_share_a_gpu(monkeypatch, name, gpus):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for key in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(key, "2")
    with pytest.raises(ValueError, match="2 processes on this machine need a GPU each"):
        processes.own_device(name)


def test_batches_of_one_process_are_as_before():
    batches = line_batches()
    for whole, own in zip(batches, batches.shared(0, 1, ("x", 4)), strict=True):
        assert all(torch.equal(own[key], value) for key, value in whole.items())
