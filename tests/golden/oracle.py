"""The network, its training and its evaluation in numpy, in any floating type: float64 is the oracle that the golden
traces hold, float32 shows what rounding alone does to the same arithmetic.

Batch statistics are two-pass, summed in float64, and the normalisation is centred, (x - mean) * inv.
Rows are row-major here, [rows, features]; allegrad's own layout is its affair.
"""

from dataclasses import dataclass, field

import numpy as np

ACTIVATIONS = {  # name: (value, derivative as a function of the value)
    "relu": (lambda a: np.maximum(a, 0), lambda h: (h > 0).astype(h.dtype)),
    "tanh": (np.tanh, lambda h: 1 - h * h),
    "sigmoid": (lambda a: 1 / (1 + np.exp(-a)), lambda h: h * (1 - h)),
    "linear": (lambda a: a, np.ones_like),
}


@dataclass
class Job:
    """One training job; the defaults are Keras'."""

    hidden: list
    batch: int
    epochs: int
    batch_norm: bool = True
    momentum: float = 0.99
    epsilon: float = 1e-3
    unbiased: bool = False  # the running variance takes M2 / (m - 1), as PyTorch
    activation: str = "relu"
    standardize: bool = False
    optimizer: str = "sgd"
    optimizer_args: dict = field(default_factory=lambda: {"learning_rate": 0.01})


class Network:
    """weights: {"dense": [{"kernel", "bias"}, ...], "bn": [{"gamma", "beta", "moving_mean", "moving_variance"}, ...]}"""

    def __init__(self, job, weights, dtype):
        self.job, self.dtype = job, np.dtype(dtype).type
        cast = lambda layers: [{k: np.array(v, dtype) for k, v in layer.items()} for layer in layers]
        self.dense, self.bn = cast(weights["dense"]), cast(weights["bn"])
        self.f, self.df = ACTIVATIONS[job.activation]
        self.margin = np.inf  # smallest |ReLU input| / (sd of the layer's ReLU inputs) of all training passes

    def normalize(self, i, x):
        """Normalises by the batch's statistics and moves the running averages: (x_hat, 1 / sd)."""
        bn, m, keep = self.bn[i], len(x), self.dtype(self.job.momentum)
        mean = x.mean(0, dtype=np.float64).astype(self.dtype)
        variance = ((x - mean) ** 2).mean(0, dtype=np.float64).astype(self.dtype)
        running = variance * self.dtype(m / (m - 1)) if self.job.unbiased and m > 1 else variance
        bn["moving_mean"] = keep * bn["moving_mean"] + (1 - keep) * mean
        bn["moving_variance"] = keep * bn["moving_variance"] + (1 - keep) * running
        inv = 1 / np.sqrt(variance + self.dtype(self.job.epsilon))
        return (x - mean) * inv, inv

    def gradients(self, x, y):
        """One training pass: (loss, gradients). The loss is the mean over rows and targets of the squared error."""
        h, tape = x, []
        for i, dense in enumerate(self.dense):
            last, x_hat, inv = i == len(self.dense) - 1, None, None
            z = h
            if self.job.batch_norm and not last:
                x_hat, inv = self.normalize(i, h)
                z = x_hat * self.bn[i]["gamma"] + self.bn[i]["beta"]
            a = z @ dense["kernel"] + dense["bias"]
            h = a if last else self.f(a)
            if self.job.activation == "relu" and not last:
                self.margin = min(self.margin, np.abs(a).min() / a.std())
            tape.append((x_hat, inv, z, h))
        error = h - y
        loss = (error**2).mean()
        dh = 2 * error / self.dtype(error.size)
        d_dense, d_bn = [None] * len(self.dense), [None] * len(self.bn)
        for i in reversed(range(len(self.dense))):
            x_hat, inv, z, h = tape[i]
            da = dh if i == len(self.dense) - 1 else dh * self.df(h)
            d_dense[i] = {"kernel": z.T @ da, "bias": da.sum(0)}
            dh = da @ self.dense[i]["kernel"].T
            if x_hat is not None:  # Ioffe & Szegedy 2015: dx = gamma inv (dz - sum(dz)/m - x_hat sum(dz x_hat)/m)
                m = self.dtype(len(dh))
                d_bn[i] = {"gamma": (dh * x_hat).sum(0), "beta": dh.sum(0)}
                dh = self.bn[i]["gamma"] * inv * (dh - d_bn[i]["beta"] / m - x_hat * (d_bn[i]["gamma"] / m))
        return loss, {"dense": d_dense, "bn": d_bn}

    def predict(self, x):
        for i, dense in enumerate(self.dense):
            if self.job.batch_norm and i < len(self.dense) - 1:
                bn = self.bn[i]
                inv = 1 / np.sqrt(bn["moving_variance"] + self.dtype(self.job.epsilon))
                x = (x - bn["moving_mean"]) * inv * bn["gamma"] + bn["beta"]
            x = x @ dense["kernel"] + dense["bias"]
            if i < len(self.dense) - 1:
                x = self.f(x)
        return x


class Optimizer:
    """SGD (momentum, Nesterov) and Adam by Keras' formulas."""

    def __init__(self, job, dtype):
        self.dtype, self.name, self.t, self.slots = np.dtype(dtype).type, job.optimizer, 0, {}
        self.args = {k: self.dtype(v) for k, v in job.optimizer_args.items() if k != "nesterov"}
        self.nesterov = job.optimizer_args.get("nesterov", False)

    def update(self, network, gradients):
        self.t += 1
        for kind, layers in gradients.items():
            for i, layer in enumerate(layers):
                for name, g in layer.items():
                    weights = getattr(network, kind)[i]
                    slots = self.slots.setdefault((kind, i, name), [np.zeros_like(g), np.zeros_like(g)])
                    weights[name] = weights[name] + self.change(g, slots)

    def change(self, g, slots):
        rate = self.args["learning_rate"]
        if self.name == "sgd":
            momentum = self.args.get("momentum", self.dtype(0))
            slots[0] = momentum * slots[0] - rate * g
            return momentum * slots[0] - rate * g if self.nesterov else slots[0]
        b1, b2 = self.args.get("beta_1", self.dtype(0.9)), self.args.get("beta_2", self.dtype(0.999))
        slots[0] = slots[0] + (g - slots[0]) * (1 - b1)
        slots[1] = slots[1] + (g * g - slots[1]) * (1 - b2)
        alpha = rate * np.sqrt(1 - b2**self.t) / (1 - b1**self.t)
        return -slots[0] * alpha / (np.sqrt(slots[1]) + self.args.get("epsilon", self.dtype(1e-7)))


def split(job, x, y, fraction=0.2):
    """(x, y, x_val, y_val) in double: the last rows are held out; standardised by the training rows' statistics."""
    n = int(len(x) * (1 - fraction))
    x, y = x.astype(np.float64), y.astype(np.float64)
    if job.standardize:
        sd = x[:n].std(0)
        x = (x - x[:n].mean(0)) / np.where(sd > 0, sd, 1)
    return x[:n], y[:n], x[n:], y[n:]


def train(job, weights, x, y, dtype):
    """Trains on rows in file order; returns the trace: what trace.h5 holds under /oracle, and the margin."""
    x, y, x_val, y_val = (a.astype(dtype) for a in split(job, x, y))
    network, optimizer = Network(job, weights, dtype), Optimizer(job, dtype)
    step_loss, epoch_loss, epoch_val_loss = [], [], []
    for _ in range(job.epochs):
        total = 0.0
        for start in range(0, len(x), job.batch):
            rows = slice(start, start + job.batch)
            loss, gradients = network.gradients(x[rows], y[rows])
            optimizer.update(network, gradients)
            step_loss.append(float(loss))
            total += float(loss) * len(x[rows])
        epoch_loss.append(total / len(x))
        epoch_val_loss.append(float(((network.predict(x_val) - y_val).astype(np.float64) ** 2).mean()))
    return {
        "step_loss": np.array(step_loss),
        "epoch_loss": np.array(epoch_loss),
        "epoch_val_loss": np.array(epoch_val_loss),
        "val_predictions": network.predict(x_val).astype(np.float64),
        "weights": {"dense": network.dense, "bn": network.bn},
        "margin": float(network.margin),
    }


def weight_error(found, expected):
    """Largest error of a weight relative to the largest entry of its tensor. Moving averages of raw features differ by
    orders of magnitude: each mean is measured by its own size or standard deviation, each variance by itself."""
    worst = 0.0
    for kind, layers in expected.items():
        for a, b in zip(found[kind], layers):
            for name, value in b.items():
                size = np.abs(value).max() or 1.0
                if name == "moving_mean":
                    size = np.maximum(np.abs(value), np.sqrt(b["moving_variance"]))
                elif name == "moving_variance":
                    size = value
                worst = max(worst, (np.abs(np.float64(a[name]) - value) / size).max())
    return float(worst)


def errors(trace, oracle):
    """Losses relative, predictions absolute, weights as above: what compare_golden.c measures, too."""
    relative = lambda q: float(np.max(np.abs(trace[q] - oracle[q]) / np.abs(oracle[q])))
    result = {q: relative(q) for q in ("step_loss", "epoch_loss", "epoch_val_loss")}
    result["val_predictions"] = float(
        np.abs(trace["val_predictions"].ravel() - oracle["val_predictions"].ravel()).max()
    )
    result["weights"] = weight_error(trace["weights"], oracle["weights"])
    return result
