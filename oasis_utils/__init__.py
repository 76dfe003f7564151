"""OASIS-VQ: discrete generative models of brain MRI slices. README.md lists the modules, earlier
ones first.
"""

__version__ = "0.1.0"
