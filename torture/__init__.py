"""What is done to `hcdc` to break it: kills, damaged files, full disks, other versions. `make torture` runs all of it."""
