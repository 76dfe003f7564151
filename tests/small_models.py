"""A small model of each class: shared by the tests of checkpoint files."""

import torch

from oasis_utils.config import DCGANConfig, PixelCNNConfig, VQVAEConfig
from oasis_utils.models.checkpoints import load_tensors, save_tensors
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.vqvae import VQVAE

SHAPE = dict(grid=4, n_codes=8, n_positions=3, channels=8)

MODELS = {
    "vqvae": lambda: VQVAE(
        VQVAEConfig(image_size=32, channels=32, residual_blocks=1, n_codes=8, code_dim=4)
    ),
    "pixelcnn": lambda: PixelCNN(PixelCNNConfig(**SHAPE, blocks=2, hidden=8)),
    "dcgan": lambda: DCGAN(DCGANConfig(**SHAPE, code_dim=4, noise_dim=4)),
}


def rewrite_header(path, **changes):
    """The same file with other entries in its description; None removes one."""
    tensors, about = load_tensors(path)
    about = {name: value for name, value in {**about, **changes}.items() if value is not None}
    save_tensors(path, tensors, about)


def small_model(name):
    """The model of this name with the same random weights each time."""
    torch.manual_seed(0)
    return MODELS[name]()
