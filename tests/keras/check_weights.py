#!/usr/bin/env python3
"""Loads final.weights.h5 of run folders into genuine Keras, as a user would, and compares what it predicts.

    check_weights.py RUN DATA.h5 PREDICTIONS.csv      PREDICTIONS: what `allegrad predict` says of all rows of DATA
    exit code 0 when they agree, 1 with a message otherwise

Needs the packages keras (with a backend), h5py and numpy.
"""
import pathlib
import sys
import warnings

import h5py
import keras
import numpy as np

# Of the largest prediction. Keras computes x * inv + (beta - mean * inv), which cancels on raw features.
TOLERANCE = 2e-5


def check(condition, message):
    if not condition:
        raise SystemExit(f"check_weights: {message}")


def layers_of(file, kind):
    number = lambda name: int("0" + name[len(kind) :].lstrip("_"))
    return [file["layers"][name]["vars"] for name in sorted((n for n in file["layers"] if n.startswith(kind)), key=number)]


def build(file):
    """The model that the file says it belongs to, compiled with its optimizer."""
    trainer = file["trainer"].attrs
    kernels = [variables["0"].shape for variables in layers_of(file, "dense")]
    norms = layers_of(file, "batch_normalization")
    check(len(norms) in (0, len(kernels) - 1), f"{len(norms)} batch normalisations before {len(kernels) - 1} hidden layers")
    dropouts = len(layers_of(file, "dropout"))
    check(dropouts in (0, len(kernels) - 1), f"{dropouts} dropouts behind {len(kernels) - 1} hidden layers")
    layers = [keras.Input((kernels[0][0],))]
    for _, width in kernels[:-1]:
        if norms:
            layers.append(keras.layers.BatchNormalization(momentum=trainer["momentum"], epsilon=trainer["epsilon"]))
        layers.append(keras.layers.Dense(width, activation=trainer["activation"]))
        if dropouts:
            layers.append(keras.layers.Dropout(0.5))  # the rate is not in the file, and nothing to inference
    model = keras.Sequential(layers + [keras.layers.Dense(kernels[-1][1])])
    optimizer = file["optimizer/vars"]
    slots = (len(optimizer) - 2) / len(model.trainable_variables)
    makers = {("sgd", 0): keras.optimizers.SGD, ("sgd", 1): lambda: keras.optimizers.SGD(momentum=0.5), ("adam", 2): keras.optimizers.Adam}
    kind = (optimizer.attrs["name"].rstrip("_0123456789"), slots)
    check(kind in makers, f"the optimizer is {kind[0]} with {slots} variables a weight")
    model.compile(optimizer=makers[kind](), loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def same(name, loaded, stored):
    check(np.array_equal(keras.ops.convert_to_numpy(loaded), stored[()]), f"Keras does not load {name} as it stands in the file")


def check_variables(model, file):
    """Every variable of model and optimizer came from the file."""
    kinds = {"dense": ("kernel", "bias"), "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance")}
    for kind, tensors in kinds.items():
        loaded = [layer for layer in model.layers if hasattr(layer, tensors[-1])]
        stored = layers_of(file, kind)
        check(len(loaded) == len(stored), f"{len(loaded)} layers {kind}, {len(stored)} in the file")
        for layer, variables in zip(loaded, stored):
            for i, tensor in enumerate(tensors):
                same(f"{layer.name}/{tensor}", getattr(layer, tensor), variables[str(i)])
    optimizer = file["optimizer/vars"]
    for i, variable in enumerate(model.optimizer.variables):
        same(f"optimizer/{variable.path}", variable, optimizer[str(i)])
    check(int(model.optimizer.iterations) == file["trainer"].attrs["step"], "the optimizer's iteration is not the step")


def main(run, data, predictions):
    path = pathlib.Path(run) / "final.weights.h5"
    with h5py.File(path) as file, h5py.File(data) as rows:
        model = build(file)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns of an optimizer that it cannot load
            model.load_weights(path)
        check_variables(model, file)
        x = rows["x"][()].astype(np.float64)
        trainer = file["trainer"].attrs
        if "x_mean" in trainer:
            x = (x - trainer["x_mean"]) / trainer["x_sd"]
    theirs = np.asarray(model(x.astype(np.float32)))
    ours = np.loadtxt(predictions, delimiter=",", skiprows=1, ndmin=2)
    check(ours.shape == theirs.shape, f"{predictions} has {ours.shape} numbers, Keras predicts {theirs.shape}")
    error = np.abs(ours - theirs).max() / np.abs(theirs).max()
    check(error <= TOLERANCE, f"{run}: predictions differ by {error:.1e} of the largest, {TOLERANCE:.0e} allowed")
    print(f"{run}: loaded by Keras {keras.__version__}; predictions differ by {error:.1e} of the largest")


if __name__ == "__main__":
    check(len(sys.argv) == 4, "usage: check_weights.py RUN DATA.h5 PREDICTIONS.csv")
    main(*sys.argv[1:])
