"""Hyperparameter-calibrated dataset condensation.

Public names, which `__init__.pyi` lists, are loaded when first used, so that `hcdc --help` does not wait for torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
