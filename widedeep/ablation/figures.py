"""The figures of a study's report as SVG: text stays text, and the same report gives the same bytes."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from widedeep.ablation import numerals

INK, SOFT, FAINT = "#22282f", "#6b7480", "#e3e6ea"
ARMS = {"joint": "#c0392b", "deep": "#2c6496", "wide": "#b7791f", "lightgbm": "#3f7d58"}
"""Colours of the arms that every figure should let one find; the others are grey."""

VERDICTS = {"better": "#1f7a4d", "worse": "#b3261e", "equivalent": "#2c6496", "undecided": "#8a6100", "refused": "#5b6570"}
WIDTH = 4.3
"""Inches. As narrow as a telephone, so that the text can be read on one."""

STYLE = {"svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.5, "text.color": INK, "text.parse_math": False,
         "axes.edgecolor": FAINT, "axes.labelcolor": SOFT, "axes.spines.top": False, "axes.spines.right": False,
         "axes.titlesize": 9.5, "axes.titlelocation": "left", "xtick.color": FAINT, "ytick.color": FAINT,
         "xtick.labelcolor": SOFT, "ytick.labelcolor": INK, "grid.color": FAINT, "grid.linewidth": 0.7, "axes.axisbelow": True,
         "legend.frameon": False, "lines.linewidth": 1.6, "lines.markersize": 5}


class Picture(NamedTuple):
    """A figure: the name of its file, what it shows, and how it is drawn, as a file and as part of a page."""

    name: str
    about: str
    svg: str

    @property
    def inline(self) -> str:
        """The SVG as an element of an HTML page: without prologue and namespaces, with names of its own."""
        opening, rest = self.svg[self.svg.index("<svg"):].split(">", 1)
        opening = re.sub(r'\s(?:xmlns(?::\w+)?|width|height|version)="[^"]*"', "", opening)
        return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{self.name}-", f'{opening} role="img">{rest}')


class Line(NamedTuple):
    """A value with its interval, to be drawn beside its label."""

    label: str
    value: float
    low: float | None
    high: float | None
    colour: str


def drawn(found: Mapping[str, Any], primary: Mapping[str, Any], metric: str,
          groups: Mapping[str, Sequence[str]]) -> list[Picture]:
    """The figures that a report has something to show in, by `metric`, the primary one's title; arms in their `groups`.

    Needs matplotlib; `page` says so where it is not installed.
    """
    by_group = {group: _lines(found, names, primary["metric"]) for group, names in groups.items()}
    gains = {f"{name}\n{numerals.count(part['rows'])} positives": _gains(part["gain"])
             for name, part in found.get("slices", {}).items()}
    wanted = [
        ("differences", f"Differences in {metric} with their intervals, coloured by verdict; in the band they do not matter",
         differences, _differences(found), metric, primary),
        ("arms", f"{metric} of each arm with its interval; an arrow: further out",
         forest, _filled(by_group), metric, numerals.score),
        *((f"size-{axis}", f"{metric} of deep and joint by touched weights, grown along {axis}", sizes, curves, metric)
          for axis, curves in found.get("curves", {}).items()),
        ("slices", f"What joint gains in {metric} on positives of each kind", slices, _filled(gains), metric),
        ("calibration", "Observed against predicted shares of positives; on the diagonal a model keeps its promise",
         calibration, found.get("calibration")),
        ("learning", "Validation score by epoch, a line for each seed; the dot is the best epoch", learning,
         found.get("learning")),
        ("tuning", "Best validation score so far by trial", tuning, found.get("tuning"))]
    return [Picture(name, about, _svg(name, about, draw, *what)) for name, about, draw, *what in wanted if what[0]]


def _svg(name: str, about: str, draw: Callable[..., None], *what: Any) -> str:
    """What `draw` draws, and nothing about when, and by what, it was drawn."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # text stays text: whoever shows it brings the font
        figure = Figure(layout="constrained")
        draw(figure, *what)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Title": about, "Date": None})
    return re.sub(r"\n *<metadata>.*?</metadata>|[ \t]+(?=\n)", "", text.getvalue(), flags=re.DOTALL)


def _filled(groups: Mapping[str, list[Line]]) -> dict[str, list[Line]]:
    return {name: lines for name, lines in groups.items() if lines}


def _lines(found: Mapping[str, Any], arms: Iterable[str], metric: str) -> list[Line]:
    scores = {arm: found["arms"][arm][metric] for arm in arms if found["arms"][arm].get(metric)}
    return [Line(arm, score["mean"], score.get("low"), score.get("high"), ARMS.get(arm, SOFT))
            for arm, score in scores.items() if score["mean"] is not None]


def _differences(found: Mapping[str, Any]) -> dict[str, list[Line]]:
    """Declared questions, then the others."""
    groups: dict[str, list[Line]] = {"declared": [], "others": []}
    for one in found.get("questions", {}).values():
        if one["difference"] is not None:
            groups["declared" if one.get("declared") else "others"].append(
                Line(f"{one['a']} − {one['b']}", one["difference"], one["low"], one["high"], VERDICTS[one["verdict"]]))
    return _filled(groups)


def _gains(pairs: Mapping[str, Any]) -> list[Line]:
    known = {pair.partition("-")[::2]: one for pair, one in pairs.items() if one["difference"] is not None}
    return [Line(f"{a} − {b}", one["difference"], one["low"], one["high"], ARMS.get(b, SOFT)) for (a, b), one in known.items()]


def forest(figure: Any, groups: Mapping[str, list[Line]], across: str, write: Callable[[float], str]) -> Any:
    """Values with their intervals one below the other, under the headings of their groups; returns the axes.

    Values far from all others are arrows at the edge, so that the others can be told apart.
    """
    axes, place, labels, headings = figure.subplots(), 0.0, {}, set()
    centre, reach = _middle([line.value for lines in groups.values() for line in lines])
    for heading, lines in groups.items():
        if len(groups) > 1:
            place += 0.4 * heading.count("\n")
            labels[place] = heading
            headings.add(place)
            place += 1 + 0.4 * heading.count("\n")
        for line in lines:
            if abs(line.value - centre) > reach:
                edge, arrow = (0.02, "<") if line.value < centre else (0.98, ">")
                axes.plot(edge, place, arrow, color=line.colour, transform=axes.get_yaxis_transform(), clip_on=False)
            else:
                axes.plot(line.value, place, "o", color=line.colour, markersize=5.5)
                if line.low is not None:
                    axes.plot((line.low, line.high), (place, place), color=line.colour, linewidth=2, solid_capstyle="round")
            axes.text(1.03, place, write(line.value), transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
            labels[place] = line.label
            place += 1
        place += 0.4
    figure.set_size_inches(WIDTH, 0.23 * place + 0.75)
    axes.set(yticks=list(labels), yticklabels=labels.values(), ylim=(place - 0.7, -0.7), xlabel=across)
    for tick, at in zip(axes.get_yticklabels(), labels):
        if at in headings:
            tick.set(color=SOFT, fontstyle="italic")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.locator_params(axis="x", nbins=4)
    return axes


def _middle(values: Sequence[float]) -> tuple[float, float]:
    """Around which value most lie, and how far from it a scale should reach.

    >>> _middle([0.0, 2.0, 3.0, 4.0, 5.0, 100.0])
    (3.5, 18.0)
    """
    centre = float(np.median(values))
    return centre, 6 * float(np.percentile(np.abs(np.array(values) - centre), 75)) or np.inf


def differences(figure: Any, groups: Mapping[str, list[Line]], metric: str, primary: Mapping[str, Any]) -> None:
    """Differences around zero; within the band they do not matter."""
    axes = forest(figure, groups, f"difference in {metric}", numerals.difference)
    axes.axvspan(-primary["margin"], primary["margin"], color=FAINT, alpha=0.6, linewidth=0, zorder=0)
    _at_zero(axes)


def slices(figure: Any, groups: Mapping[str, list[Line]], metric: str) -> None:
    """Differences around zero."""
    _at_zero(forest(figure, groups, f"difference in {metric}", numerals.difference))


def _at_zero(axes: Any) -> None:
    axes.axvline(0, color=SOFT, linewidth=1, zorder=1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0")


def sizes(figure: Any, curves: Mapping[str, list[Mapping[str, Any]]], metric: str) -> None:
    """A metric by touched weights, on a logarithmic scale."""
    figure.set_size_inches(WIDTH, 3.1)
    axes = figure.subplots()
    for (arm, points), marker in zip(curves.items(), "os^D"):
        across, means = [point["touched"] for point in points], [point["mean"] for point in points]
        axes.plot(across, means, marker=marker, color=ARMS.get(arm, SOFT), label=arm)
        for point in points:
            if point["low"] is not None:
                axes.plot([point["touched"]] * 2, (point["low"], point["high"]), color=ARMS.get(arm, SOFT), alpha=0.45,
                          linewidth=3, solid_capstyle="round")
    ticks = sorted({point["touched"] for point in max(curves.values(), key=len)})
    axes.set(xscale="log", xlabel="touched weights", ylabel=metric)
    axes.set_xticks(ticks, [numerals.about(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(axis="y")
    axes.legend()


def calibration(figure: Any, arms: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Observed against predicted shares; arms without a colour of their own stay in the background."""
    figure.set_size_inches(WIDTH, 4.2)
    axes = figure.subplots()
    end = 1.03 * max((max(*bins["predicted"], *bins["observed"]) for bins in arms.values() if bins["predicted"]), default=1)
    axes.plot((0, end), (0, end), color=SOFT, linewidth=1, linestyle=":")
    for arm, bins in sorted(arms.items(), key=lambda item: item[0] in ARMS):
        style = {"marker": "o", "markersize": 3.5, "label": arm} if arm in ARMS else {"linewidth": 0.8, "alpha": 0.5}
        axes.plot(bins["predicted"], bins["observed"], color=ARMS.get(arm, SOFT), **style)
    if not set(arms) <= set(ARMS):
        axes.plot([], [], color=SOFT, linewidth=0.8, alpha=0.5, label="other arms")
    axes.set(xlabel="predicted", ylabel="observed", xlim=(0, end), ylim=(0, end), aspect="equal")
    axes.grid()
    axes.legend()


def learning(figure: Any, arms: Mapping[str, list[list[float]]]) -> None:
    """Small pictures side by side, on the same scales."""
    columns = min(3, len(arms))
    rows = -(-len(arms) // columns)
    figure.set_size_inches(WIDTH, 1.15 * rows + 0.35)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (arm, seeds) in zip(grid.flat, arms.items()):
        for scores in filter(None, seeds):
            best = max(range(len(scores)), key=scores.__getitem__)
            axes.plot(range(1, len(scores) + 1), scores, color=ARMS.get(arm, SOFT), linewidth=1, alpha=0.7)
            axes.plot(best + 1, scores[best], "o", color=ARMS.get(arm, SOFT), markersize=3)
        axes.set_title(arm, fontsize=8.5)
        axes.grid(axis="y")
        axes.tick_params(labelsize=8)
    for axes in grid.flat[len(arms):]:
        axes.set_visible(False)
    for axes in grid.flat[:len(arms)][-columns:]:
        axes.tick_params(labelbottom=True)
    grid.flat[0].xaxis.get_major_locator().set_params(integer=True, nbins=4)
    figure.supxlabel("epoch", fontsize=9.5, color=SOFT)
    figure.supylabel("validation score", fontsize=9.5, color=SOFT)


def tuning(figure: Any, arms: Mapping[str, list[float]]) -> None:
    """Steps that only rise; arms without a colour of their own stay in the background."""
    figure.set_size_inches(WIDTH, 3.1)
    axes = figure.subplots()
    for arm, scores in sorted(arms.items(), key=lambda item: item[0] in ARMS):
        style = {"label": arm} if arm in ARMS else {"linewidth": 0.8, "alpha": 0.6}
        axes.step(range(1, len(scores) + 1), scores, where="post", color=ARMS.get(arm, SOFT), **style)
    if not set(arms) <= set(ARMS):
        axes.plot([], [], color=SOFT, linewidth=0.8, alpha=0.6, label="other arms")
    axes.set(xlabel="trial", ylabel="best validation score")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y")
    axes.legend()
