#!/usr/bin/env python3
"""Opens what `allegrad export` wrote of a run, as a user would, and compares what it predicts.

    check_export.py RUN DATA.h5 PREDICTIONS.csv MODEL.keras MODEL.onnx FOLDED.onnx
    exit code 0 when all agree, 1 with a message otherwise

PREDICTIONS: what `allegrad predict` says of all rows of DATA; the exported models get the same raw rows.
Needs the packages keras (with a backend), onnx, onnxruntime, h5py and numpy.
"""
import json
import pathlib
import sys
import warnings

import h5py
import keras
import numpy as np
import onnx
import onnxruntime

# Of the largest prediction. Keras and onnxruntime compute x * inv + (beta - mean * inv), which cancels on raw features.
TOLERANCE = 2e-5
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


def check(condition, message):
    if not condition:
        raise SystemExit(f"check_export: {message}")


def compare(path, theirs, ours):
    check(theirs.shape == ours.shape, f"{path}: predicts {theirs.shape} numbers, allegrad {ours.shape}")
    error = np.abs(theirs - ours).max() / np.abs(ours).max()
    check(error <= TOLERANCE, f"{path}: predictions differ by {error:.1e} of the largest, {TOLERANCE:.0e} allowed")
    return f"{error:.1e}"


def check_keras(path, x, ours, weights):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = keras.models.load_model(path)
    trainer = weights["trainer"].attrs
    standardized = isinstance(model.layers[0], keras.layers.Normalization)
    check(standardized == ("x_mean" in trainer), f"{path}: a Normalization first: {standardized}")
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        check(np.isclose(layer.momentum, trainer["momentum"], rtol=1e-12), f"{path}: the momentum is {layer.momentum}")
        check(np.isclose(layer.epsilon, trainer["epsilon"], rtol=1e-12), f"{path}: the epsilon is {layer.epsilon}")
    error = compare(path, np.asarray(model(x)), ours)
    for i, variable in enumerate(model.optimizer.variables):
        stored = weights[f"optimizer/vars/{i}"][()]
        check(i == 1 or np.array_equal(np.asarray(variable), stored), f"{path}: the optimizer's {variable.path} is another")
    steps = int(model.optimizer.iterations)
    model.train_on_batch(x[:8], ours[:8])
    check(int(model.optimizer.iterations) == steps + 1, f"{path}: does not go on training")
    return error


def check_onnx(path, x, ours, weights, folded):
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    trainer = weights["trainer"].attrs
    operators = [node.op_type for node in model.graph.node]
    hidden = len([name for name in weights["layers"] if name.startswith("dense")]) - 1
    norms = len([name for name in weights["layers"] if name.startswith("batch_normalization")])
    expected = ["Sub", "Div"] if "x_mean" in trainer else []
    for _ in range(hidden):
        expected += ["BatchNormalization"] * (norms > 0 and not folded) + ["Gemm"]
        expected += [ACTIVATIONS[trainer["activation"]]] * (trainer["activation"] in ACTIVATIONS)
    check(operators == expected + ["Gemm"], f"{path}: its operators are {operators}")
    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    for key in ("x_names", "y_names"):
        check(metadata[key] == [str(name) for name in trainer[key]], f"{path}: its {key} are {metadata[key]}")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (theirs,) = session.run(["y"], {"x": x})
    (one,) = session.run(["y"], {"x": x[:1]})
    check(np.allclose(one, theirs[:1], rtol=1e-4, atol=1e-6), f"{path}: one row alone is predicted as {one}")
    return compare(path, theirs, ours)


def main(run, data, predictions, keras_file, onnx_file, folded_file):
    ours = np.loadtxt(predictions, delimiter=",", skiprows=1, ndmin=2).astype(np.float32)
    with h5py.File(data) as rows:
        x = rows["x"][()].astype(np.float32)
    with h5py.File(pathlib.Path(run) / "final.weights.h5") as weights:
        errors = check_keras(keras_file, x, ours, weights), check_onnx(onnx_file, x, ours, weights, False)
        errors += (check_onnx(folded_file, x, ours, weights, True),)
    print("{}: exported; predictions differ by {} (.keras), {} (ONNX), {} (folded) of the largest".format(run, *errors))


if __name__ == "__main__":
    check(len(sys.argv) == 7, "usage: check_export.py RUN DATA.h5 PREDICTIONS.csv MODEL.keras MODEL.onnx FOLDED.onnx")
    main(*sys.argv[1:])
