"""A small model of each class and the path of a checkpoint file.

The package is imported in the fixtures, after pytest has switched on the checks of shapes.
"""

import pytest


@pytest.fixture(params=["vqvae", "pixelcnn", "dcgan"])
def model(request):
    from small_models import small_model

    return small_model(request.param)


@pytest.fixture
def vqvae():
    from small_models import small_model

    return small_model("vqvae")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints" / "model.safetensors"
