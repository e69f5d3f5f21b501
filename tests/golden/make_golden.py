#!/usr/bin/env python3
"""Makes the golden cases of this folder, and checks the oracle they come from.

    make_golden.py make [CASE...]      writes CASE/{case.yaml,data.h5,init.weights.h5,trace.h5,errors.csv}
    make_golden.py check [REFERENCE]   recomputes every committed trace from its files; with REFERENCE, a folder of cases
                                       made elsewhere (see tests/reference.sh), those too

`make` needs numpy, h5py and Keras 3 on JAX; `check` numpy and h5py. A case is a small job on rows of Lucas County in file
order with given initial weights, so that nothing random is left. trace.h5 holds /oracle (float64, oracle.py) and /keras
(genuine Keras, float32): step_loss, epoch_loss, epoch_val_loss, val_predictions; and /oracle/weights, at the end.
errors.csv says how far centred float32 arithmetic (the oracle in float32) is from the oracle: the measure of what a
float32 program can be held to. Before a case is written, the losses of genuine Keras must agree with the oracle's (not
as closely as centred arithmetic: its x * inv + (beta - mean * inv) cancels on raw features).
"""

import json
import os
import sys
from pathlib import Path

import h5py
import numpy as np

from oracle import Job, errors, split, train

HERE = Path(__file__).resolve().parent
LUCAS = HERE.parent.parent / "data" / "lucas_county.h5"
SMALLEST_MARGIN = 2e-6  # a ReLU input closer to zero (in sd) may fall on the other side by rounding
LARGEST_ROUNDING = 5e-6  # of a loss in centred float32; a case that amplifies it beyond tells little
KERAS_LOSSES = 1e-4  # largest relative difference of a loss between Keras and the oracle; another formula gives more
TENSORS = {"dense": ("kernel", "bias"), "bn": ("gamma", "beta", "moving_mean", "moving_variance")}
GROUPS = {"dense": "dense", "bn": "batch_normalization"}
LOSSES = ("step_loss", "epoch_loss", "epoch_val_loss")

# rows: of the data file, the last fifth held out. targets 2: the price and its logarithm. keras False: Keras has no such
# option, the oracle stands alone.
CASES = {
    # 200 training rows in batches of 32: the last batch has 8
    "bn-relu": dict(rows=250, job=Job(hidden=[16, 8], batch=32, epochs=3)),
    "bn-adam": dict(
        rows=254,  # 203 training rows: the last batch has 3, fewer than there may be ranks
        job=Job(
            hidden=[12, 5], batch=50, epochs=4, momentum=0.9, epsilon=1e-5,
            optimizer="adam", optimizer_args={"learning_rate": 0.002},
        ),
    ),
    "tanh-nesterov": dict(
        rows=240,
        job=Job(
            hidden=[10, 6], batch=37, epochs=3, momentum=0.9, activation="tanh",
            optimizer_args={"learning_rate": 0.01, "momentum": 0.9, "nesterov": True},
        ),
    ),
    "plain-sigmoid": dict(
        rows=200,
        job=Job(hidden=[12, 12], batch=25, epochs=3, batch_norm=False, activation="sigmoid", standardize=True),
    ),
    "two-targets": dict(
        rows=200, targets=2,
        job=Job(
            hidden=[9], batch=16, epochs=2, standardize=True,
            optimizer_args={"learning_rate": 0.02, "momentum": 0.9},
        ),
    ),
    # 121 training rows in batches of 24: the last batch is one row, whose variance is zero
    "one-row": dict(rows=152, job=Job(hidden=[8, 8], batch=24, epochs=3)),
    "unbiased": dict(rows=125, keras=False, job=Job(hidden=[8, 4], batch=9, epochs=2, momentum=0.9, unbiased=True)),
    # a feature with a mean of 1000 standard deviations, and a constant one; Keras' arithmetic cancels there
    "offset": dict(
        rows=180, offset=True, keras=False,
        job=Job(hidden=[10, 6], batch=21, epochs=3, momentum=0.9, activation="tanh"),
    ),
    "linear": dict(
        rows=200,
        job=Job(hidden=[], batch=20, epochs=3, standardize=True, optimizer_args={"learning_rate": 0.05}),
    ),
}


def layer_names(group, kind):
    """Names of the layers of a kind in order: dense, dense_1, ...; the numbers may start anywhere."""
    number = lambda name: int("0" + name[len(GROUPS[kind]) :].lstrip("_"))
    return sorted((name for name in group if name.startswith(GROUPS[kind])), key=number)


def read_weights(path):
    """Weights of a .weights.h5, as oracle.Network takes them."""
    with h5py.File(path) as file:
        layers = file["layers"]
        tensor = lambda name, i: layers[name]["vars"][str(i)][()]
        return {
            kind: [{t: tensor(name, i) for i, t in enumerate(tensors)} for name in layer_names(layers, kind)]
            for kind, tensors in TENSORS.items()
        }


def read_trace(path):
    with h5py.File(path) as file:
        oracle = file["oracle"]
        trace = {q: oracle[q][()] for q in LOSSES + ("val_predictions",)}
        weights = oracle["weights"]
        trace["weights"] = {
            kind: [{t: weights[name][t][()] for t in tensors} for name in layer_names(weights, kind)]
            for kind, tensors in TENSORS.items()
        }
        return trace


def write_trace(path, oracle, keras):
    with h5py.File(path, "w", libver="latest") as file:
        for source, trace, dtype in (("oracle", oracle, "f8"), ("keras", keras, "f4")):
            if trace is not None:
                for quantity in LOSSES + ("val_predictions",):
                    file[f"{source}/{quantity}"] = trace[quantity].astype(dtype)
        for kind, layers in oracle["weights"].items():
            for i, layer in enumerate(layers):
                name = GROUPS[kind] + (f"_{i}" if i else "")
                for tensor, value in layer.items():
                    file[f"oracle/weights/{name}/{tensor}"] = value


def lucas_rows(case):
    with h5py.File(LUCAS) as file:
        x, y = file["x"][: case["rows"]], file["y"][: case["rows"]].reshape(case["rows"], -1)
    if case.get("targets", 1) == 2:
        y = np.hstack([y, np.log(y)])
    if case.get("offset"):
        x[:, 0] = (x[:, 0] - x[:, 0].mean()) / x[:, 0].std() + 1000
        x[:, 1] = 7
    return x.astype(np.float32), y.astype(np.float32)


def keras_model(job, features, targets):
    import keras

    layers = [keras.Input((features,))]
    for width in job.hidden:
        if job.batch_norm:
            layers.append(keras.layers.BatchNormalization(momentum=job.momentum, epsilon=job.epsilon))
        layers.append(keras.layers.Dense(width, activation=job.activation))
    model = keras.Sequential(layers + [keras.layers.Dense(targets)])
    optimizer = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[job.optimizer]
    model.compile(optimizer=optimizer(**job.optimizer_args), loss="mse")
    model.optimizer.build(model.trainable_variables)  # so that the file has the optimizer's variables from the start
    return model


def keras_weights(model):
    import keras

    kinds = {"Dense": "dense", "BatchNormalization": "bn"}
    weights = {"dense": [], "bn": []}
    for layer in model.layers:
        kind = kinds[type(layer).__name__]
        weights[kind].append({t: keras.ops.convert_to_numpy(getattr(layer, t)) for t in TENSORS[kind]})
    return weights


def keras_train(job, init, x, y):
    """Genuine Keras on the same job: fit for what it reports an epoch, train_on_batch for the loss of every step."""
    x, y, x_val, y_val = (a.astype(np.float32) for a in split(job, x, y))
    model = keras_model(job, x.shape[1], y.shape[1])
    model.load_weights(init)
    history = model.fit(
        x, y, batch_size=job.batch, epochs=job.epochs, shuffle=False, validation_data=(x_val, y_val), verbose=0
    ).history
    trace = {
        "epoch_loss": np.array(history["loss"]),
        "epoch_val_loss": np.array(history["val_loss"]),
        "val_predictions": np.array(model.predict(x_val, verbose=0)),
        "weights": keras_weights(model),
    }
    model = keras_model(job, x.shape[1], y.shape[1])
    model.load_weights(init)
    step_loss = []
    for _ in range(job.epochs):
        for start in range(0, len(x), job.batch):
            model.reset_metrics()
            step_loss.append(float(model.train_on_batch(x[start : start + job.batch], y[start : start + job.batch])))
    return trace | {"step_loss": np.array(step_loss)}


def job_yaml(case, seed, margin, keras_version):
    job = case["job"]
    optimizer = {"name": job.optimizer} | job.optimizer_args
    text = lambda value: json.dumps(value)
    return (
        f"# Made by make_golden.py: Keras {keras_version}, seed {seed}"
        + (f", smallest |ReLU input| / sd {margin:.1e}" if np.isfinite(margin) else "")
        + "\n"
        f"data: {{file: data.h5, standardize: {text(job.standardize)}}}\n"
        f"model:\n  hidden: {job.hidden}\n  activation: {job.activation}\n  init_weights: init.weights.h5\n"
        f"  batch_norm: {{enabled: {text(job.batch_norm)}, momentum: {job.momentum}, epsilon: {job.epsilon}, "
        f"variance: {'unbiased' if job.unbiased else 'biased'}}}\n"
        f"train:\n  optimizer: {{{', '.join(f'{k}: {text(v)}' for k, v in optimizer.items())}}}\n".replace('"', "")
        + f"  batch: {job.batch}\n  epochs: {job.epochs}\n  shuffle: none\n"
        "log: {steps: 1, tensorboard: false, progress: off}\n"
    )


def make(name):
    import keras

    case, folder = CASES[name], HERE / name
    job = case["job"]
    x, y = lucas_rows(case)
    folder.mkdir(exist_ok=True)
    init = folder / "init.weights.h5"
    for seed in range(1, 100):
        keras.utils.set_random_seed(seed)
        keras_model(job, x.shape[1], y.shape[1]).save_weights(init)
        oracle = train(job, read_weights(init), x, y, np.float64)
        centred = errors(train(job, read_weights(init), x, y, np.float32), oracle)
        if oracle["margin"] > SMALLEST_MARGIN and max(centred[q] for q in LOSSES) < LARGEST_ROUNDING:
            break
        print(f"{name}: seed {seed} left out: margin {oracle['margin']:.1e}, centred float32 {centred}")
    genuine = keras_train(job, init, x, y) if case.get("keras", True) else None
    if genuine is not None:
        found = errors(genuine, oracle)
        print(f"{name}: Keras against the oracle:           {found}")
        assert max(found[q] for q in LOSSES) < KERAS_LOSSES, name
    print(f"{name}: centred float32 against the oracle: {centred}")
    with h5py.File(folder / "data.h5", "w", libver="latest") as file:
        file["x"], file["y"] = x, y
    write_trace(folder / "trace.h5", oracle, genuine)
    (folder / "case.yaml").write_text(job_yaml(case, seed, oracle["margin"], keras.__version__))
    (folder / "errors.csv").write_text(",".join(centred) + "\n" + ",".join(f"{e:.2e}" for e in centred.values()) + "\n")


def reference_case(folder):
    """(job, x, y) of a case that was made elsewhere, described by case.json."""
    case = json.loads((folder / "case.json").read_text())
    with h5py.File(folder.parent / "california_shuffled.h5") as file:
        x, y = file["x"][: case["rows"]], file["y"][: case["rows"]]
    job = Job(
        hidden=case["units"], batch=case["batch"], epochs=case["epochs"], batch_norm=case["bn"],
        momentum=case["alpha"], epsilon=case["eps"], activation=case["act"], standardize=case["standardize"],
        optimizer=case["opt"][0].lower(), optimizer_args=case["opt"][1],
    )
    return job, x, y


def check(folder, job, x, y):
    """Whether the oracle still gives the trace in the folder."""
    found = errors(train(job, read_weights(folder / "init.weights.h5"), x, y, np.float64), read_trace(folder / "trace.h5"))
    ok = max(found.values()) < 1e-11
    print(f"{'ok' if ok else 'FAILED'}: {folder.name}: oracle against trace.h5: {max(found.values()):.1e}")
    return ok


def check_all(reference):
    ok = True
    for name, case in CASES.items():
        ok &= check(HERE / name, case["job"], *lucas_rows(case))
    for file in sorted(Path(reference).glob("*/case.json")) if reference else []:
        if json.loads(file.read_text()).get("order") != "file":
            ok &= check(file.parent, *reference_case(file.parent))
    return ok


def main(arguments):
    if arguments[:1] == ["make"]:
        os.environ.update(KERAS_BACKEND="jax")
        for name in arguments[1:] or CASES:
            make(name)
        return 0
    if arguments[:1] == ["check"] and len(arguments) <= 2:
        return 0 if check_all(*arguments[1:2] or [None]) else 1
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
