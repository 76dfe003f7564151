"""What must hold on a GPU. Where a check means something on a CPU too, it runs on both.

On a machine with little more than torch: pip install pytest numpy safetensors jaxtyping filelock,
then `python -m pytest -o addopts= tests/test_gpu.py`; tests that need more packages are skipped.
Some minutes at most.
"""

import contextlib
import math
import threading
import warnings
from types import SimpleNamespace

import pytest
import torch
from small_pixelcnn import AGES, random_maps, sharpened, tiny

from oasis_utils import runtime
from oasis_utils.config import TrainingConfig, load_profile
from oasis_utils.models import cached_sampling as incremental
from oasis_utils.models.cached_sampling import KEPT, RowCache, Step
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.drawing import SamplingOptions, uniform_noise
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.quantizer import nearest_code
from oasis_utils.models.vqvae import VQVAE
from oasis_utils.runtime import gpu
from oasis_utils.training.loop import Trainer

CPU = torch.device("cpu")
HAS_GPU = torch.cuda.is_available()
needs_gpu = pytest.mark.skipif(not HAS_GPU, reason="needs a GPU")
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
SMOKE = load_profile("smoke")
OPTIONS = [
    SamplingOptions(temperature, top_k, top_p)
    for temperature in (0.0, 1.0, 0.7)
    for top_k in (0, 4)
    for top_p in (1.0, 0.8)
]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=needs_gpu)])
def device(request):
    return runtime.select_device(request.param)


@pytest.fixture
def cuda():
    return runtime.select_device("cuda")


def prior(device, **changes):
    return sharpened(tiny(**changes)).to(device)


def inputs(model, batch=5, seed=0):
    config, device = model.config, model.cell_bias.device
    noise = uniform_noise([seed * 100 + i for i in range(batch)], config.grid).to(device)
    return (torch.arange(batch) % config.n_positions).to(device), noise


@torch.no_grad()
def one_by_one(model, positions, noise, options):
    """Codes of a fresh step that is not recorded: each kernel launched by itself."""
    cache, maps = (
        RowCache(model, positions),
        torch.zeros(noise.shape, dtype=torch.long, device=noise.device),
    )
    step = Step(cache, options, record=False)
    for row in range(noise.shape[1]):
        cache.start_row(row, maps[:, row - 1] if row else None)
        for col in range(noise.shape[2]):
            maps[:, row, col] = step(noise[:, row, col])
    return maps


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
    for batch in range(1, KEPT + 4):
        model.sample(*inputs(model, batch))
    assert len(model.kept_steps) == KEPT


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


# ---------------------------------------------------------------- training


def model_and_batch(kind, device):
    torch.manual_seed(0)
    model = kind(getattr(SMOKE, kind.__name__.lower()))
    config, random = SMOKE.pixelcnn, torch.Generator().manual_seed(1)
    rows = torch.linspace(-1, 1, SMOKE.vqvae.image_size)
    images = torch.exp(-3 * (rows[:, None] ** 2 + rows**2)) * torch.rand(
        8, 1, 1, 1, generator=random
    )
    indices = (
        torch.rand(8, config.grid, config.grid, generator=random) * config.n_codes / 2
    ).long()
    if kind is DCGAN:
        model.use_codebook(
            torch.randn(config.n_codes, 8, generator=random), torch.ones(config.n_codes)
        )
        model.use_maps(indices, torch.arange(8) % 2)
    batch = {"images": images, "indices": indices, "positions": torch.arange(8) % 2}
    return model.to(device).train(), {name: value.to(device) for name, value in batch.items()}


@pytest.mark.parametrize(
    ("kind", "loss"), [(VQVAE, "loss"), (PixelCNN, "loss"), (DCGAN, "discriminator_loss")]
)
def test_twenty_steps_are_finite_and_the_loss_falls(device, kind, loss):
    """In bfloat16 on a GPU that has it; the DCGAN's second derivatives in float32."""
    model, batch = model_and_batch(kind, device)
    trainer = Trainer(model, TrainingConfig(learning_rate=1e-3, warmup_steps=0), 20)
    found = [{name: float(value) for name, value in trainer.step(batch).items()} for _ in range(20)]
    assert all(math.isfinite(value) for losses in found for value in losses.values())
    assert sum(losses[loss] for losses in found[-5:]) < sum(losses[loss] for losses in found[:5])
    assert all(value.isfinite().all() for value in model.state_dict().values())


@pytest.mark.parametrize("kind", [VQVAE, PixelCNN, DCGAN])
def test_a_training_goes_on_from_its_file_as_if_it_had_not_stopped(device, kind, tmp_path):
    """Equal random states. Losses to the bit on a CPU; on a GPU, where sums are taken in changing
    order, to 2 %.
    """
    config = TrainingConfig(learning_rate=1e-3, warmup_steps=0, ema_decay=0.9)
    (model, batch), path = model_and_batch(kind, device), tmp_path / "resume.safetensors"
    whole = Trainer(model, config, 10)
    for _ in range(3):
        whole.step(batch)
    whole.save(path, "same")
    saved = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
    expected = [{name: float(value) for name, value in whole.step(batch).items()} for _ in range(3)]
    torch.manual_seed(99)
    again = Trainer(model_and_batch(kind, device)[0], config, 10)
    assert again.restore(path, "same")
    assert torch.equal(
        torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state(), saved
    )
    for losses in expected:
        found = {name: float(value) for name, value in again.step(batch).items()}
        assert found == (
            losses if device.type == "cpu" else pytest.approx(losses, rel=2e-2, abs=2e-2)
        )


@needs_gpu
def test_encoding_and_validation_agree_with_a_cpu(cuda):
    model, batch = model_and_batch(VQVAE, CPU)
    Trainer(model, TrainingConfig(warmup_steps=0), 10).step(batch)
    model.eval()
    with torch.no_grad():
        indices, figures = model.encode_indices(batch["images"]), model.validate([batch])
        model.to(cuda)
        there = {name: value.to(cuda) for name, value in batch.items()}
        found = model.encode_indices(there["images"]).cpu()
        assert (found == indices).float().mean() >= 0.998  # near ties may tip over
        assert model.validate([there]) == pytest.approx(figures, rel=2e-2, abs=1e-3)
    prior_here, maps = (
        model_and_batch(PixelCNN, CPU)[0].eval(),
        {k: batch[k] for k in ("indices", "positions")},
    )
    here = prior_here.validate([maps])
    there = prior_here.to(cuda).validate([{k: v.to(cuda) for k, v in maps.items()}])
    assert there == pytest.approx(here, rel=1e-4)


@pytest.mark.parametrize("n", [5000, 70_000])
def test_the_nearest_code_is_exact_under_autocast(device, n):
    """Another code than the nearest one may be chosen only where float32 cannot tell them apart."""
    random = torch.Generator().manual_seed(0)
    latents, codebook = torch.randn(n, 8, generator=random), torch.randn(512, 8, generator=random)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        chosen = nearest_code(latents.to(device), codebook.to(device)).cpu()
    distances = torch.cdist(
        latents.double(), codebook.double(), compute_mode="donot_use_mm_for_euclid_dist"
    )
    excess = distances.gather(1, chosen[:, None])[:, 0] - distances.min(1).values
    assert int((excess > 1e-5).sum()) == 0


def test_streamed_batches_equal_those_held(device, tmp_path):
    np = pytest.importorskip("numpy")
    for package in ("PIL", "scipy", "nibabel"):
        pytest.importorskip(package)
    from oasis_utils.data.batches import Batches, Streamed

    file = tmp_path / "slices.npy"
    np.save(file, np.random.default_rng(0).integers(0, 256, (23, 16, 16), dtype=np.uint8))
    images, positions = np.load(file, mmap_mode="r"), torch.arange(23, device=device)
    held = {
        "images": torch.from_numpy(np.array(images))[:, None].to(device),
        "positions": positions,
    }
    streamed = {"images": Streamed(images, device), "positions": positions}
    for a, b in zip(Batches(held, 5, True), Batches(streamed, 5, True), strict=True):
        assert b["images"].device == a["images"].device and all(
            torch.equal(a[key], b[key]) for key in a
        )


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


def test_an_older_torch_is_told_in_its_own_words(monkeypatch):
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


def test_a_capture_that_fails_is_said_and_gives_the_stream_back(made_up_gpu):
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
