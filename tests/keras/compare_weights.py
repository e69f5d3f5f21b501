#!/usr/bin/env python3
"""Compares layers and optimizer of two weights files of one shape.

    compare_weights.py EXPECTED.weights.h5 FOUND.weights.h5      exit code 0 when they agree up to rounding

Needs h5py and numpy.
"""
import sys

import h5py
import numpy as np

# Of the largest element of a tensor: an epoch was computed by another program in float32, and Adam's division by the
# root of a small second moment passes on a part of that as it is.
TOLERANCE = 1e-4


def tensors(path):
    found = {}
    with h5py.File(path) as file:
        for group in ("layers", "optimizer"):
            file[group].visititems(lambda name, item: found.update({f"{group}/{name}": item[()]} if isinstance(item, h5py.Dataset) else {}))
    return found


def main(expected, found):
    expected, found = tensors(expected), tensors(found)
    if expected.keys() != found.keys():
        raise SystemExit(f"compare_weights: other tensors: {sorted(expected.keys() ^ found.keys())}")
    largest, worst = 0, ""
    for name, value in expected.items():
        error = np.abs(value - found[name]).max() / max(np.abs(value).max(), 1e-30)
        if error >= largest:
            largest, worst = error, name
    if largest > TOLERANCE or int(expected["optimizer/vars/0"]) != int(found["optimizer/vars/0"]):
        raise SystemExit(f"compare_weights: {worst} differs by {largest:.1e} of its largest element, {TOLERANCE:.0e} allowed")
    print(f"{len(expected)} tensors agree to {largest:.1e} of their largest element (worst: {worst})")


if __name__ == "__main__":
    main(*sys.argv[1:])
