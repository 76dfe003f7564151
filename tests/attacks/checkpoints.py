"""Checkpoints with valid digests whose descriptions or weights are not those of a model."""

import json
import os

import torch
from attacks.harness import attack

VQVAE, PRIOR, DCGAN = "vqvae", "pixelcnn", "dcgan"


def path_of(folder, name):
    return folder / "checkpoints" / f"{name}.safetensors"


def sound_run(folder, **sizes):
    """Small untrained models that fit together."""
    from small_models import SHAPE, small_model

    from oasis_utils.config import PixelCNNConfig
    from oasis_utils.models.checkpoints import save_model, weights_digest
    from oasis_utils.models.pixelcnn import PixelCNN

    vqvae = small_model(VQVAE)
    save_model(path_of(folder, VQVAE), vqvae)
    shape = {**SHAPE, "grid": vqvae.config.grid, **sizes}
    torch.manual_seed(0)
    about = {"inputs": {"vqvae": weights_digest(vqvae)}}
    prior = PixelCNN(PixelCNNConfig(**shape, blocks=2, hidden=8))
    save_model(path_of(folder, PRIOR), prior, **about)
    save_model(path_of(folder, DCGAN), small_model(DCGAN), **about)


def changed(folder, name, tensors=lambda t: None, **entries):
    """A sound run in which one file is written again, with a valid digest."""
    from oasis_utils.models.checkpoints import load_tensors, save_tensors

    sound_run(folder)
    weights, about = load_tensors(path_of(folder, name))
    tensors(weights)
    save_tensors(path_of(folder, name), weights, {**about, **entries})


def config_with(folder, name, **fields):
    """A sound run in which some fields of one configuration have other values, nan among them."""
    from safetensors.torch import save

    from oasis_utils.models.checkpoints import FINGERPRINT, HEADER, _fingerprint, load_tensors

    sound_run(folder)
    weights, about = load_tensors(path_of(folder, name))
    about["config"].update(fields)
    text = json.dumps(about)
    metadata = {HEADER: text, FINGERPRINT: _fingerprint(text, weights)}
    path_of(folder, name).write_bytes(save(weights, metadata=metadata))


def spoilt(value):
    """A function that puts a value into the first weights that take it."""

    def change(weights):
        name = next(n for n, t in weights.items() if t.is_floating_point() and t.numel())
        weights[name].view(-1)[0] = value

    return change


@attack("sample", "was trained on the codes of another VQ-VAE")
def inputs_that_are_a_list(data):
    """A description whose inputs are a list."""
    changed(data, PRIOR, inputs=["vqvae"])


@attack("sample", "was trained on the codes of another VQ-VAE")
def inputs_that_are_null(data):
    """A description whose inputs are null."""
    changed(data, PRIOR, inputs=None)


@attack("sample", "pixelcnn.safetensors does not fit its own description")
def config_that_is_a_list(data):
    """A configuration that is a list."""
    changed(data, PRIOR, config=[1, 2])


@attack("sample", "age_mean is 'old', not of type float")
def age_that_is_a_text(data):
    """A mean age that is a text."""
    config_with(data, PRIOR, age_mean="old")


@attack("sample", "pixelcnn.safetensors does not fit its own description .age_mean is nan")
def mean_age_that_is_nan(data):
    """A mean age that is nan."""
    config_with(data, PRIOR, age_mean=float("nan"))


@attack("sample", "does not fit its own description")
def spread_that_is_infinite(data):
    """A spread of ages that is infinite."""
    config_with(data, PRIOR, age_std=float("inf"))


@attack("sample", "does not fit its own description|other weights")
def model_that_reserves(data):
    """A configuration that asks for 80 GB of weights."""
    config_with(data, VQVAE, channels=4096, residual_blocks=64)


@attack("sample", "does not fit its own description")
def blocks_that_are_true(data):
    """A number of blocks that is `true`."""
    config_with(data, PRIOR, blocks=True)


@attack("sample", "pixelcnn.safetensors does not fit .*nan or infinite; train again")
def weights_of_nan(data):
    """A PixelCNN with a weight that is nan."""
    changed(data, PRIOR, spoilt(float("nan")))


@attack("sample", "vqvae.safetensors does not fit .*nan or infinite; train again")
def vqvae_of_nan(data):
    """A VQ-VAE with a weight that is nan."""
    changed(data, VQVAE, spoilt(float("nan")))


@attack("sample dcgan", "dcgan.safetensors does not fit .*nan or infinite; train again")
def dcgan_of_infinity(data):
    """A DCGAN with a weight that is infinite."""
    changed(data, DCGAN, spoilt(float("inf")))


@attack("sample", "was trained on the codes of another VQ-VAE")
def prior_of_another_grid(data):
    """A prior whose maps the VQ-VAE would decode to another size."""
    sound_run(data, grid=12)


@attack("sample", "was trained on the codes of another VQ-VAE")
def prior_of_more_codes(data):
    """A prior that draws codes which the codebook lacks."""
    sound_run(data, n_codes=32)


@attack("sample", "holds a VQVAE, not a PixelCNN")
def model_of_another_class(data):
    """A VQ-VAE under the name of a PixelCNN."""
    sound_run(data)
    os.replace(path_of(data, VQVAE), path_of(data, PRIOR))
    sound_run(data.parent / "other")
    path_of(data, VQVAE).write_bytes(path_of(data.parent / "other", VQVAE).read_bytes())


@attack("sample", "is not a whole OASIS-VQ checkpoint")
def empty_checkpoint(data):
    """A checkpoint of no bytes."""
    sound_run(data)
    path_of(data, PRIOR).write_bytes(b"")


@attack("sample", "is not a whole OASIS-VQ checkpoint .*a header of")
def checkpoint_of_a_large_header(data):
    """A header that claims 4 EiB."""
    sound_run(data)
    path_of(data, PRIOR).write_bytes((1 << 62).to_bytes(8, "little") + b"{" * 99)


@attack("sample", "does not match its digest")
def altered_checkpoint(data):
    """One altered bit of one weight."""
    sound_run(data)
    content = bytearray(path_of(data, PRIOR).read_bytes())
    content[-5] ^= 1
    path_of(data, PRIOR).write_bytes(content)


@attack("sample", "it is a FIFO, no plain file")
def fifo_as_a_checkpoint(data):
    """A FIFO in the place of a checkpoint."""
    sound_run(data)
    path_of(data, PRIOR).unlink()
    os.mkfifo(path_of(data, PRIOR))


@attack("sample", "is not fetched yet: run `datalad get`")
def checkpoint_that_is_not_fetched(data):
    """A link of git-annex to a checkpoint that is not there."""
    sound_run(data)
    path_of(data, PRIOR).unlink()
    path_of(data, PRIOR).symlink_to("../.git/annex/objects/a/b/c/c")
