"""One thread: the problems are tiny, and bits must not depend on what else the machine does."""

import torch

torch.set_num_threads(1)
