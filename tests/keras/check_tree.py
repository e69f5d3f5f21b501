#!/usr/bin/env python3
"""Compares two weights files as trees: the same groups, datasets, shapes, types and storage; ours adds /trainer only.

    check_tree.py OURS.weights.h5 KERAS.weights.h5      exit code 0 when they agree, 1 with a message otherwise

The numbers that Keras appends to the attribute `name` count every layer of a process and are not compared. Needs h5py.
"""
import re
import sys

import h5py


def describe(item):
    """What must be equal of a group or dataset."""
    attributes = {}
    for key, value in item.attrs.items():
        text = item.attrs.get_id(key)
        kind = h5py.check_string_dtype(text.dtype)
        attributes[key] = (re.sub(r"_\d+$", "", value), text.shape, kind)
    if isinstance(item, h5py.Group):
        return ("group", attributes)
    layout = item.id.get_create_plist().get_layout()
    return ("dataset", item.shape, item.dtype.str, layout == h5py.h5d.CONTIGUOUS, item.maxshape, attributes)


def tree(path):
    """{path: description} of everything but /trainer, and whether that is there."""
    found = {}

    def visit(name, item):
        if name.split("/")[0] != "trainer":
            found[name] = describe(item)

    with h5py.File(path) as file:
        file.visititems(visit)
        return found, "trainer" in file


def main(ours, theirs):
    (mine, is_ours), (keras, _) = tree(ours), tree(theirs)
    if not is_ours:
        raise SystemExit(f"check_tree: {ours} has no group /trainer")
    for name in sorted(mine.keys() | keras.keys()):
        if mine.get(name) != keras.get(name):
            raise SystemExit(f"check_tree: /{name} is {mine.get(name)} in {ours}, {keras.get(name)} in {theirs}")
    print(f"{ours}: the same {len(mine)} groups and datasets as {theirs}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit("usage: check_tree.py OURS.weights.h5 KERAS.weights.h5")
    main(*sys.argv[1:])
