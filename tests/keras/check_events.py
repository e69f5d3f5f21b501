#!/usr/bin/env python3
"""Reads the event files of run folders with genuine TensorBoard and compares them with metrics.csv.

    check_events.py RUN...      exit code 0 when all agree, 1 with a message otherwise

Needs the packages tensorboard and numpy.
"""
import csv
import math
import pathlib
import sys

import numpy as np
from tensorboard.backend.event_processing import event_accumulator, event_file_loader
from tensorboard.util import tensor_util

TAG = "epoch_loss"


def check(condition, message):
    if not condition:
        raise SystemExit(f"check_events: {message}")


def read(folder):
    """{step: value} of the scalars in a folder of events."""
    files = sorted(folder.glob("events.out.tfevents.*"))
    check(len(files) == 1, f"{folder} has {len(files)} event files, not 1")
    first = next(iter(event_file_loader.RawEventFileLoader(str(files[0])).Load()), None)
    event = event_file_loader.event_pb2.Event.FromString(first or b"")
    check(event.file_version == "brain.Event:2", f"{files[0]} begins with {event}")

    accumulator = event_accumulator.EventAccumulator(str(folder), size_guidance={event_accumulator.TENSORS: 0})
    accumulator.Reload()
    tags = accumulator.Tags()["tensors"]
    check(tags == [TAG], f"{folder} has the tags {tags}, not [{TAG}]")
    plugin = accumulator.SummaryMetadata(TAG).plugin_data.plugin_name
    check(plugin == "scalars", f"{folder}: the plugin is {plugin}")
    values, last = {}, 0.0
    for event in accumulator.Tensors(TAG):
        array = tensor_util.make_ndarray(event.tensor_proto)
        check(array.shape == () and array.dtype == np.float32, f"{folder}: {array!r} is no float32 scalar")
        check(event.wall_time >= last, f"{folder}: time runs backwards at step {event.step}")
        check(event.step not in values, f"{folder}: step {event.step} twice")
        values[event.step], last = float(array), event.wall_time
    return values


def same(event, text):
    """A float32 and the nine digits of a double agree to float32's rounding."""
    number = float(text)
    if math.isnan(event) or math.isnan(number) or math.isinf(event):
        return np.array_equal(np.float32(event), np.float32(number), equal_nan=True)
    return math.isclose(event, number, rel_tol=2.0**-23, abs_tol=1e-45)


def check_run(run):
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    check(rows, f"{run}/metrics.csv has no line")
    columns = {"train": "loss"}
    if any(row["val_loss"] != "" for row in rows):
        columns["validation"] = "val_loss"
    folders = sorted(path.name for path in (run / "events").iterdir())
    check(folders == sorted(columns), f"{run}/events has {folders}, not {sorted(columns)}")
    for name, column in columns.items():
        values = read(run / "events" / name)
        expected = {int(row["epoch"]) - 1: row[column] for row in rows}
        check(values.keys() == expected.keys(), f"{run}/events/{name} has steps {list(values)}, not {list(expected)}")
        for step, text in expected.items():
            check(same(values[step], text), f"{run}/events/{name} step {step}: {values[step]}, metrics.csv has {text}")
    print(f"{run}: {len(rows)} epochs read back by TensorBoard")


if __name__ == "__main__":
    check(len(sys.argv) > 1, "usage: check_events.py RUN...")
    for argument in sys.argv[1:]:
        check_run(pathlib.Path(argument))
