"""What every worker needs, loaded once in the process that workers are forked from."""

import torch

import bench.train.run
import bench.train.survey  # noqa: F401
from bench.train.flops import flop_counter

with flop_counter():
    torch.zeros(1).add(1)  # the first count of a process imports for two seconds
