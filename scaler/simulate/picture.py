"""A comparison as a picture: demand and workers above, lag below, on one time axis. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from headway.bus.errors import UsageError
from headway.scaler.simulate.report import PolicyComparison

_SUFFIXES: Final = (".png", ".svg")
_COLOURS: Final = ("#d1242f", "#0969da", "#54aeff", "#2da44e", "#9a6700")
_SMOOTH: Final = 5
"""Seconds over which the drawn demand is averaged."""


def check(path: Path) -> None:
    """Refuse a file name without a known format.

    Raises:
        UsageError: if it does not end in .png or .svg.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(
            f"{path} is not a supported picture format", remedy="give a file name that ends in .svg or .png"
        )


def draw(found: PolicyComparison, path: Path) -> None:
    """Write the picture, as PNG or SVG by its suffix.

    Raises:
        UsageError: if the suffix is neither.
    """
    check(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(found.results)
    figure = Figure(figsize=(11, 2.6 + 1.25 * count), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(
        count + 1, 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": [1.0] * count + [1.6]}
    )[:, 0]
    seconds = len(found.trace.arrivals)
    demand = _demand(found)
    top = 1.08 * max([*(one.peak for one in found.results), *demand])
    for index, (panel, one) in enumerate(zip(panels, found.results, strict=False)):
        colour = _COLOURS[index % len(_COLOURS)]
        workers = one.series.workers[:seconds]
        panel.fill_between(range(seconds), demand, color="#d0d7de", linewidth=0, label="demand")
        panel.step(range(len(workers)), workers, where="post", color=colour, linewidth=1.4, label="workers")
        least = found.optimum.worker_seconds or 1.0
        panel.set_title(
            f"{one.contender}: {one.slo_misses:,} SLO misses, {one.worker_seconds / least:.2f} x optimum",
            loc="left",
            fontsize=9,
            color=colour,
            fontweight="normal" if index else "bold",
        )
        panel.set_ylim(0, top)
        panel.set_ylabel("workers", fontsize=8)
    lag = panels[-1]
    for index, one in enumerate(found.results):
        values = [max(value, 0.1) for value in one.series.lag_s[:seconds]]
        lag.plot(
            range(len(values)),
            values,
            color=_COLOURS[index % len(_COLOURS)],
            linewidth=1.0 if index else 1.8,
            zorder=2 if index else 3,
            label=one.contender,
        )
    lag.axhline(found.load.within, color="#1f2328", linewidth=0.8, linestyle="--", label="SLO")
    lag.set_yscale("log")
    lag.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    lag.set_title("lag: age of the oldest job not finished", loc="left", fontsize=9)
    lag.set_ylabel("seconds", fontsize=8)
    lag.set_xlabel("seconds", fontsize=8)
    lag.legend(ncols=count + 1, fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.28))
    for panel in panels:
        panel.set_xlim(0, seconds)
        panel.tick_params(labelsize=8)
        panel.grid(color="#eaeef2", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{found.trace.name}: {sum(found.trace.arrivals):,} jobs; grey: workers that the arrivals keep busy",
        fontsize=11,
        x=0.01,
        ha="left",
    )
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)


def _demand(found: PolicyComparison) -> list[float]:
    """Return the workers that the arrivals would keep busy, smoothed for the picture."""
    arrivals, half = found.trace.arrivals, _SMOOTH // 2
    smooth = []
    for second in range(len(arrivals)):
        part = arrivals[max(0, second - half) : second + half + 1]
        smooth.append(sum(part) / len(part) / found.load.rate)
    return smooth
