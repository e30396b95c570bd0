"""What every worker needs, loaded once in the process that workers are forked from."""

import torch
from torch.utils.flop_counter import FlopCounterMode

import bench.train.run
import bench.train.survey  # noqa: F401

with FlopCounterMode(display=False):
    torch.zeros(1).add(1)  # the first count of a process imports for two seconds
