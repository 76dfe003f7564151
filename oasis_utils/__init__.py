"""OASIS-VQ: discrete generative models of brain MRI slices."""

__version__ = "0.1.0"
