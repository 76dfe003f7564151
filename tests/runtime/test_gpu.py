"""What must hold on a GPU. Where a check means something on a CPU too, it runs on both.

On a machine with little more than torch: pip install pytest numpy safetensors jaxtyping filelock,
then `python -m pytest -o addopts= tests/runtime/test_gpu.py tests/models/test_recorded_sampling.py
tests/training/test_training_on_gpu.py`; tests that need more packages are skipped. Some minutes at
most.
"""

import contextlib
import threading
from types import SimpleNamespace

import pytest
import torch
from gpu_helpers import CPU, inputs, needs_gpu, one_by_one, prior

from oasis_utils import runtime
from oasis_utils.models.drawing import SamplingOptions
from oasis_utils.runtime import gpu

needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")


# ---------------------------------------------------------------- devices and precision


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine that seems to have two GPUs; returns the indices that were made current."""
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(
        torch.cuda, "set_device", lambda device: current.append(torch.device(device).index)
    )
    monkeypatch.setattr(gpu, "use_ieee_float32", lambda: current.append("ieee"))
    return current


@pytest.mark.parametrize(
    ("name", "index"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)]
)
def test_a_chosen_gpu_becomes_the_current_one(two_gpus, name, index):
    assert runtime.select_device(name) == torch.device("cuda", index) and two_gpus == [
        index,
        "ieee",
    ]


def test_a_gpu_that_does_not_exist_is_refused(two_gpus):
    with pytest.raises(
        RuntimeError, match="no device 'cuda:2': torch sees 2 GPUs, use cuda:0 or cuda:1"
    ):
        runtime.select_device("cuda:2")
    assert not two_gpus


@pytest.mark.parametrize(
    "name", ["gpu", "", "cuda:", "cuda:-1", "cuda:x", "CUDA", "cpu:0", "mps", "cuda:0 "]
)
def test_unknown_names_of_devices_are_refused(name):
    with pytest.raises(ValueError, match="unknown device '.*': choose auto, cpu, cuda or cuda:N"):
        runtime.select_device(name)


def test_float32_is_ieee_float32():
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [backend.fp32_precision for backend in backends]
    try:
        gpu.use_ieee_float32()
        assert [backend.fp32_precision for backend in backends] == ["ieee"] * 3
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value


def test_an_older_torch_is_set_by_its_own_options(monkeypatch):
    """The two interfaces are never mixed."""
    old = SimpleNamespace(
        cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=True)),
        cudnn=SimpleNamespace(allow_tf32=True),
    )
    monkeypatch.setattr(torch, "backends", old)
    gpu.use_ieee_float32()
    assert vars(old.cuda.matmul) == {"allow_tf32": False} and vars(old.cudnn) == {
        "allow_tf32": False
    }


@needs_gpu
def test_products_and_convolutions_have_the_precision_of_float32(cuda):
    random = torch.Generator().manual_seed(0)
    a, b = torch.randn(512, 512, generator=random), torch.randn(512, 512, generator=random)
    error = ((a.to(cuda) @ b.to(cuda)).cpu().double() - a.double() @ b.double()).abs().max()
    x, kernel = (
        torch.randn(4, 64, 32, 32, generator=random),
        torch.randn(64, 64, 3, 3, generator=random),
    )
    there = torch.nn.functional.conv2d(x.to(cuda), kernel.to(cuda)).cpu().double()
    conv = (there - torch.nn.functional.conv2d(x.double(), kernel.double())).abs().max()
    assert error < 1e-3 and conv < 1e-3  # TF32: some hundredths


@needs_two
def test_another_gpu_than_the_first_draws_from_any_thread():
    device = runtime.select_device("cuda:1")
    model = prior(device)
    positions, noise = inputs(model)
    expected, found = one_by_one(model, positions, noise, SamplingOptions()), []

    def work():
        with gpu.exclusive_use(device):
            found.append(model.sample(positions, noise))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert torch.equal(found[0], expected)
    runtime.select_device("cuda:0")


# ---------------------------------------------------------------- capture, lock, time, memory


@pytest.fixture
def made_up_gpu(monkeypatch):
    """torch.cuda as far as `captured` uses it, on a machine without a GPU; returns what
    happened.
    """
    events, real = [], torch.cuda.Stream

    class Stream:
        __class__ = property(lambda self: real)

        def __init__(self, name=0):
            self.name = name

        def wait_stream(self, other):
            events.append("wait")

    def context(name):
        @contextlib.contextmanager
        def enter(*_args, **options):
            events.append((name, options.get("capture_error_mode")))
            yield

        return enter

    main = Stream("main")
    monkeypatch.setattr(gpu, "_STREAMS", {})
    for name, value in {
        "current_stream": lambda device: main,
        "Stream": Stream,
        "stream": context("stream"),
        "graph": context("graph"),
        "device": context("device"),
        "CUDAGraph": lambda: "graph",
        "set_stream": lambda stream: events.append(("restored", stream.name)),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return events


def test_a_capture_warms_up_on_the_shared_stream_and_minds_its_own_thread(made_up_gpu):
    calls = []
    first = gpu.side_stream(torch.device("cuda:0"))
    assert gpu.captured(lambda: calls.append(1) or "result", torch.device("cuda:0")) == (
        "graph",
        "result",
    )
    assert len(calls) == gpu.WARM_UP + 1 and gpu.side_stream(torch.device("cuda:0")) is first
    assert made_up_gpu[-1] == ("graph", "thread_local")


def test_a_capture_that_fails_gives_a_warning_and_gives_the_stream_back(made_up_gpu):
    def fails():
        raise RuntimeError("operation not permitted")

    with pytest.warns(
        RuntimeWarning, match="capture failed, going on without it.*operation not permitted"
    ):
        assert gpu.captured(fails, torch.device("cuda:0")) is None
    assert made_up_gpu[-1] == ("restored", "main")


@needs_gpu
def test_a_capture_that_fails_on_a_gpu_leaves_the_next_one_possible(cuda):
    counter, before = torch.zeros(1, device=cuda), torch.cuda.current_stream()
    with pytest.warns(RuntimeWarning, match="capture failed"):
        assert (
            gpu.captured(lambda: counter.add_(1).item(), cuda) is None
        )  # waits for the device: not allowed
    assert torch.cuda.current_stream() == before
    graph, _ = gpu.captured(lambda: counter.add_(1), cuda)
    counter.zero_()
    graph.replay()
    assert float(counter) == 1


def test_one_thread_at_a_time_uses_a_gpu(made_up_gpu):
    device, inside, most = torch.device("cuda:0"), [], []

    def work():
        for _ in range(50):
            with (
                gpu.exclusive_use(device),
                gpu.exclusive_use(device),
            ):  # the thread that has it may ask again
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 200 and set(most) == {1}


def test_a_cpu_is_shared_by_threads():
    entered = threading.Event()

    def work():
        with gpu.exclusive_use(CPU):
            entered.set()

    with gpu.exclusive_use(CPU):
        thread = threading.Thread(target=work)
        thread.start()
        assert entered.wait(30)
    thread.join(30)


def test_time_is_taken_when_the_device_is_idle(device, monkeypatch):
    events, wait = [], gpu.synchronize
    monkeypatch.setattr(gpu, "synchronize", lambda where: events.append("waited") or wait(where))
    a = torch.ones(2048, 2048, device=device)
    result, seconds = gpu.timed(lambda: events.append("worked") or a @ a, device)
    assert events == ["waited", "worked", "waited"] and seconds > 0 and float(result[0, 0]) == 2048
    if device.type == "cuda":
        assert torch.cuda.current_stream().query()  # nothing is left to do


def test_memory_that_torch_holds_unused_counts_as_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 70)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 30)
    assert gpu.free_memory(torch.device("cuda:0")) == 140
