"""What a record keeps of a score, a metric, a curve and a matrix, checked and with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nbutils import metrics
from nbutils.errors import InputError
from nbutils.record.values import checked_ids, checked_number, clusters, error_prefix, groups, unit_of

INTERVAL = "95 %, questions independent"
CLUSTERED = "95 %, clustered"  # by the subjects and fields that the metric counts


def score_entry(name: str, examples: Sequence[Any], values: Any) -> dict[str, Any]:
    """One score per question, from values (n,), or (k, n) of k training seeds, see `Record.scores`."""
    where = f"scores {name!r}"
    per_seed = [list(values)] if np.ndim(values) == 1 else [list(row) for row in values]
    ids = checked_ids(where, examples, len(per_seed[0]))
    per_seed = [
        [checked_number(f"{where} of question {id_}", value) for id_, value in zip(ids, row, strict=True)]
        for row in per_seed
    ]
    entry = {"ids": ids, "values": per_seed[0], **groups(examples), **unit_of(examples)}
    if np.ndim(values) == 2:
        entry["values"] = np.mean(per_seed, axis=0).tolist()
        entry["seed_means"] = np.mean(per_seed, axis=1).tolist()
    return entry


def metric_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The mean of a score with its interval: shares end at 0 and 1, costs above 0."""
    values, seed_means = entry["values"], entry.get("seed_means")
    subjects, fields = clusters(entry)
    interval = metrics.cluster_interval(values, subjects, fields, seed_means)
    low, high = float(interval.low), float(interval.high)
    if min(values) >= -1 and max(values) <= 1:  # shares, and differences of shares
        low, high = max(low, 0.0 if min(values) >= 0 else -1.0), min(high, 1.0)
    if low <= 0 < min(values) and max(values) > 1:  # a few costs that vary much: their mean is above 0 all the same
        low = float(min(values))
    numbers = {"value": float(interval.value), "low": low, "high": high, "n": len(values)}
    counts = {"subjects": subjects, "fields": fields}
    counts = {label: len(set(labels)) for label, labels in counts.items() if labels is not None}
    seeds = {"seeds": len(seed_means)} if seed_means is not None else {}
    unit = {"unit": entry["unit"]} if "unit" in entry else {}
    return {**numbers, "interval": CLUSTERED if counts else INTERVAL, **counts, **seeds, **unit}


def series_entry(
    name: str, x: Sequence[float], y: Sequence[float], low: Sequence[float], high: Sequence[float], n: int
) -> dict[str, Any]:
    """A curve to be plotted, see `Record.series`."""
    where = f"series {name!r}"
    columns = {"x": x, "y": y, "low": low, "high": high}
    if len({len(column) for column in columns.values()}) != 1 or len(x) == 0:
        lengths = ", ".join(f"{key} {len(column)}" for key, column in columns.items())
        raise InputError(f"{where} needs equally many values, at least one: it has {lengths}")
    entry: dict[str, Any] = {
        key: [checked_number(where, number) for number in column] for key, column in columns.items()
    }
    if any(below > above for below, above in zip(entry["low"], entry["high"], strict=True)):
        raise InputError(f"{where} has an interval whose low is above its high")
    return {**entry, "n": int(n)}


def curve_entry(
    name: str, x: Sequence[float], examples: Sequence[Any], matrix: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """A curve of means and intervals from scores per question, (n_questions, len(x)), see `Record.curve`."""
    where = f"series {name!r}"
    ids = checked_ids(where, examples, len(matrix))
    if any(len(row) != len(x) for row in matrix):
        raise InputError(f"{where}: every question needs {len(x)} values, one for each x")
    labels = groups(examples)
    columns = [[checked_number(where, value) for value in column] for column in zip(*matrix, strict=True)]
    with error_prefix(where):
        points = [metric_of({"values": column, **labels}) for column in columns]
    return series_entry(name, x, *([point[key] for point in points] for key in ("value", "low", "high")), len(ids))


def matrix_entry(
    name: str, rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """A matrix to be plotted, see `Record.matrix`."""
    where = f"matrix {name!r}"
    rows, columns = list(rows), list(columns)
    if not all(isinstance(label, str) for label in (*rows, *columns)):
        raise InputError(f"{where}: the labels of rows and columns must be texts")
    lengths = {len(row) for row in values}
    if not rows or not columns or len(values) != len(rows) or lengths != {len(columns)}:
        shape = f"{len(rows)} row labels and {len(columns)} column labels"
        raise InputError(f"{where} has {shape}, but {len(values)} rows of {sorted(lengths)} values")
    numbers = [[checked_number(where, value) for value in row] for row in values]
    return {"rows": rows, "columns": columns, "values": numbers}
