"""What is done to `hcdc` to break it: kills, damaged files, full disks, other versions. `make torture` runs all of it.

Its processes fork, and a fork loses threads, so that libraries are told, before they are loaded, to start none.
"""

import os

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
