"""Trained networks in files, and how a program loads them.

They are what `run --save-weights` keeps::

    from bench.weights import load

    network = load("species+coat.safetensors")
    for task, answers in network(network.read(["cat.jpg"])).items():
        print(task, answers)
"""

from bench.weights.network import SavedNetwork, load

__all__ = ["SavedNetwork", "load"]
