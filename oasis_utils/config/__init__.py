"""Frozen configurations of data, models and training, and the profiles, from smoke to full."""

from oasis_utils.config.data import BRAIN_LEVEL, SPLITS, CodesConfig, DataConfig
from oasis_utils.config.models import (
    VQVAE_CHOICES,
    DCGANConfig,
    NeighbourConfig,
    PixelCNNConfig,
    VQVAEConfig,
)
from oasis_utils.config.profiles import PROFILES, Profile, load_profile
from oasis_utils.config.serialization import digest, from_dict, override, to_dict
from oasis_utils.config.training import EvaluationConfig, TrainingConfig

__all__ = [
    "BRAIN_LEVEL",
    "PROFILES",
    "SPLITS",
    "VQVAE_CHOICES",
    "CodesConfig",
    "DCGANConfig",
    "DataConfig",
    "EvaluationConfig",
    "NeighbourConfig",
    "PixelCNNConfig",
    "Profile",
    "TrainingConfig",
    "VQVAEConfig",
    "digest",
    "from_dict",
    "load_profile",
    "override",
    "to_dict",
]
