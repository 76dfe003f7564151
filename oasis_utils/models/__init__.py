"""Networks and their files; encoding, decoding and sampling with them."""

from oasis_utils.models import receptive_field
from oasis_utils.models.checkpoints import load_model, save_model, weights_digest
from oasis_utils.models.codes import to_uint8
from oasis_utils.models.dcgan import DCGAN
from oasis_utils.models.drawing import SamplingOptions, uniform_noise
from oasis_utils.models.head_priors import DCGANHeads, GaussianHeads, PixelCNNHeads
from oasis_utils.models.heads import Heads, HeadSampler, load_head_sampler
from oasis_utils.models.neighbour_pixelcnn import NeighbourPixelCNN
from oasis_utils.models.pixelcnn import PixelCNN
from oasis_utils.models.quantizer import VectorQuantizer, rotate, straight_through
from oasis_utils.models.regions import hemisphere, region
from oasis_utils.models.sampler import PRIORS, BrainSampler, load_sampler, run_or_shipped
from oasis_utils.models.samples import Samples, image_seeds, spread_positions
from oasis_utils.models.shapes import BlockShape, block_shapes, shape_table
from oasis_utils.models.stacks import stacked_maps
from oasis_utils.models.vqvae import VQVAE

__all__ = [
    "DCGAN",
    "PRIORS",
    "VQVAE",
    "BlockShape",
    "BrainSampler",
    "DCGANHeads",
    "GaussianHeads",
    "HeadSampler",
    "Heads",
    "NeighbourPixelCNN",
    "PixelCNN",
    "PixelCNNHeads",
    "Samples",
    "SamplingOptions",
    "VectorQuantizer",
    "block_shapes",
    "hemisphere",
    "image_seeds",
    "load_head_sampler",
    "load_model",
    "load_sampler",
    "receptive_field",
    "region",
    "rotate",
    "run_or_shipped",
    "save_model",
    "shape_table",
    "spread_positions",
    "stacked_maps",
    "straight_through",
    "to_uint8",
    "uniform_noise",
    "weights_digest",
]
