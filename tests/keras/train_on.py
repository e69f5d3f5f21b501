#!/usr/bin/env python3
"""Goes on for an epoch with a model that `allegrad export` wrote, as genuine Keras does it.

    train_on.py MODEL.keras DATA.h5 BATCH OUT.weights.h5

The rows of DATA in file order, the last fifth held out, as in the golden cases. Needs keras (with a backend) and h5py.
"""
import sys

import h5py
import keras


def main(path, data, batch, out):
    model = keras.models.load_model(path)
    with h5py.File(data) as file:
        rows = int(len(file["x"]) * 0.8)
        x, y = file["x"][:rows].astype("float32"), file["y"][:rows].astype("float32")
    model.fit(x, y, batch_size=int(batch), epochs=1, shuffle=False, verbose=0)
    model.save_weights(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
