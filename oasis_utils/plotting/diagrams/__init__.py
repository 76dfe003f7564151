"""Diagrams of the networks and of the series, drawn from the shapes of built models."""

from oasis_utils.plotting.diagrams.adversarial import dcgan
from oasis_utils.plotting.diagrams.autoencoder import vqvae
from oasis_utils.plotting.diagrams.gated_stacks import pixelcnn
from oasis_utils.plotting.diagrams.gradient import gradient_route
from oasis_utils.plotting.diagrams.kernels import masked_kernels
from oasis_utils.plotting.diagrams.membership import membership_attack
from oasis_utils.plotting.diagrams.rows import shape_text
from oasis_utils.plotting.diagrams.stages import pipeline

__all__ = [
    "dcgan",
    "gradient_route",
    "masked_kernels",
    "membership_attack",
    "pipeline",
    "pixelcnn",
    "shape_text",
    "vqvae",
]
