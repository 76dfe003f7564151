"""Shared set-up: figures without a screen, data and a finished series, and what goes to which of
several test processes.
"""

import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")

ON_THE_SERIES = ("test_runner", "test_exercises", "test_upright_series")  # which is made once
EACH_BY_ITSELF = ("test_odd_series", "test_commands_on_sources")  # tests of minutes


def room(nodeid):
    """What stays together in one of several processes: modules, and all that use the series.

    xdist's own groups have no effect with pytest 9.
    """
    path = nodeid.split("::")[0]
    if Path(path).stem in ON_THE_SERIES:
        return "series"
    return nodeid if Path(path).stem in EACH_BY_ITSELF else path


@pytest.hookimpl(optionalhook=True)  # of xdist
def pytest_xdist_make_scheduler(config, log):
    """With `--dist loadgroup`: tests of one room go to one process."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByRoom(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return room(nodeid)

    return ByRoom(config, log)


def pytest_collection_modifyitems(config, items):
    """With `-n`, what takes minutes comes first."""
    served = {item.path.stem for item in items if "series" in item.fixturenames}
    if not served <= set(ON_THE_SERIES):
        raise pytest.UsageError(f"{served} use the finished series: name them in ON_THE_SERIES")
    if hasattr(config, "workerinput"):
        long = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: (item.path.stem not in served, item.path not in long))


@pytest.fixture(scope="session")
def brains(tmp_path_factory):
    """The smoke profile's sample brains at 64 pixels: two subjects of 32 slices in each split, one
    young and one old.

    Two people say little about others: with this seed they are alike enough to read positions of
    the others by.
    """
    from oasis_utils import data
    from oasis_utils.config import PROFILES

    config = PROFILES["smoke"].data
    return data.build_cache(
        data.make_sample_brains(config, seed=4), tmp_path_factory.mktemp("brains"), config
    )


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A user's folder of PNGs in the keras layout, behind a link."""
    from oasis_utils import data
    from oasis_utils.config import PROFILES

    source = data.make_sample_brains(PROFILES["smoke"].data)
    folder = tmp_path_factory.mktemp("données ä") / "keras_png_slices_data"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("sample_brains.json"))
    link = tmp_path_factory.mktemp("links") / "to my data"
    link.symlink_to(folder)
    return link


@pytest.fixture(scope="session")
def series(tree, tmp_path_factory):
    """(finished process, run folder) of the whole series in the smoke profile on that folder."""
    from command_line import contents, oasis

    from oasis_utils.runtime import RunFolder

    run = RunFolder(tmp_path_factory.mktemp("läufe") / "smoke run")
    before = contents(tree)
    done = oasis("run", "--profile", "smoke", "--data", tree, "--out", run.root)
    assert contents(tree) == before  # the data folder is never written to
    return done, run


@pytest.fixture
def samplers():
    """{label: BrainSampler} of small untrained models: 4 x 4 maps of 16 codes, 6 positions; the
    PixelCNN knows ages.
    """
    import torch

    from oasis_utils.config import DCGANConfig, PixelCNNConfig, VQVAEConfig
    from oasis_utils.models.dcgan import DCGAN
    from oasis_utils.models.pixelcnn import PixelCNN
    from oasis_utils.models.sampler import BrainSampler
    from oasis_utils.models.vqvae import VQVAE

    torch.manual_seed(0)
    vqvae = VQVAE(VQVAEConfig(image_size=32, downsampling=8, channels=32, n_codes=16, code_dim=4))
    shape = dict(grid=4, n_codes=16, n_positions=6, channels=8)
    pixelcnn = PixelCNN(PixelCNNConfig(**shape, blocks=2, hidden=16, age_mean=50.0, age_std=20.0))
    for block in pixelcnn.blocks:  # else an untrained prior hardly follows its conditions
        torch.nn.init.normal_(block.condition.weight, std=3.0)
        torch.nn.init.normal_(block.age.weight, std=3.0)
    torch.nn.init.normal_(pixelcnn.head[-1].weight)
    dcgan = DCGAN(DCGANConfig(**shape, code_dim=4, noise_dim=4))
    return {"PixelCNN": BrainSampler(vqvae, pixelcnn), "DCGAN": BrainSampler(vqvae, dcgan)}


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    """Each device in turn; the GPU is skipped where there is none."""
    import torch

    from oasis_utils import runtime

    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    return runtime.select_device(request.param)


@pytest.fixture
def cuda():
    """The GPU; tests that use it are marked `needs_gpu`."""
    from oasis_utils import runtime

    return runtime.select_device("cuda")
