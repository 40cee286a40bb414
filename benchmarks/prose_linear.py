"""The generated blocks of docs/baselines.md on linear regression."""

from __future__ import annotations

from typing import Any

from record import committed, table, where


def linear_vending() -> str:
    """The errors of b and W on the vending machine without noise, by loss, optimizer and rows a step."""
    figures = committed("linear")["figures"]
    runs, most = figures["vending"], figures["settings"]["epochs_at_most"]
    batches = list(dict.fromkeys(run["batch"] for run in runs))
    found = {(run["loss"], run["optimizer"], run["batch"]): run for run in runs}

    def cell(run: dict[str, Any]) -> str:
        return f"{run['bias_error']:.1g}; {run['weights_error']:.1g} ({run['epochs']})"

    rows = [(loss, optimizer, *(cell(found[loss, optimizer, batch]) for batch in batches))
            for loss, optimizer in dict.fromkeys((run["loss"], run["optimizer"]) for run in runs)]
    return table(f"loss | optimizer | {' | '.join(f'{name}, at most {most[name]} epochs' for name in batches)}", *rows)


def linear_coverage() -> str:
    """How often the 95 % intervals held the truth."""
    figures = committed("linear")["figures"]
    draws, said = figures["settings"]["draws"], ", ".join(f"{n} in {share:.1%}" for n, share in figures["coverage"].items())
    return f"Over {draws} draws of the noise, fitted at once as {draws} label columns, they held the true {said} of the draws."


def linear_closed_form() -> str:
    """Coefficients, losses and R² beside the closed forms; the last row is the absolute loss."""
    figures = committed("linear")["figures"]
    rows = [(name, f"{found['from_lstsq']:.1g}", f"{found['from_sklearn']:.1g}", f"{found['loss_over_sklearn']:.0e}",
             f"{found['r2']:.4f}", f"{found['r2_sklearn']:.4f}", str(found["epochs"]))
            for name, found in figures["beside_closed_form"].items()]
    grid = table("table | W from `lstsq`'s | W from scikit-learn's | loss over scikit-learn's | R² | scikit-learn's | steps",
                 *rows)
    loss = figures["absolute"]
    return (f"{grid}\n\nW: largest difference, in deviations of y per deviation of x. The absolute loss has no closed form; "
            f"its least value on diabetes, by a linear program, is {loss['least']:.5f} deviations of y, and Adam reaches "
            f"{loss['ours']:.5f}.")


def linear_rates() -> str:
    """The largest stable rate, predicted, and what happened on both sides."""
    def yes(value: bool) -> str:
        return "yes" if value else "no"

    found = committed("linear")["figures"]["rates"]
    rows = [(f"{one['table']}{', standardised' if one['standardized'] else ', as it is'}", one["loss"], f"{one['bound']:.5g}",
             yes(one["never_rose_below"]), yes(one["diverged_above"])) for one in found]
    grid = table("table | loss | largest stable rate, predicted | 1 % below: the loss never rose | 1 % above: diverged", *rows)
    return f"{grid}\n\nThe last one above the bound ended with:\n\n> {found[-1]['message']}"


def linear_sweep() -> str:
    """The best rate by optimizer, and the lowest that diverged."""
    figures, rows = committed("linear")["figures"], []
    for name, by_rate in figures["sweep"].items():
        left = {rate: value for rate, value in by_rate.items() if value is not None}
        best = min(left, key=left.__getitem__)
        within = [rate for rate, value in left.items() if value < 0.005]
        rows.append((name, best, f"{left[best]:.1g}", f"{within[0]} to {within[-1]}",
                     next((rate for rate, value in by_rate.items() if value is None), "none")))
    grid = table("optimizer | best rate | its loss over the least possible | rates within .005 | lowest that diverged", *rows)
    return f"{grid}\n\nThe loss is that after {figures['settings']['sweep_epochs']} epochs."


def linear_curve() -> str:
    """Time, memory and error by the number of variables; what was not measured is marked."""
    result = committed("linear_large")
    figures = result["figures"]
    known = {method: {p["variables"]: p for p in points} for method, points in figures["curve"].items()}
    beyond = {p["variables"]: p for p in figures["extrapolated"]}
    rows = [(f"{size:,}", *(_point(method, known[method].get(size), beyond.get(size))
                            for method in ("lstsq", "normal equations", "SGD")))
            for size in sorted(set().union(*known.values(), beyond))]
    grid = table("variables | `numpy.linalg.lstsq` | normal equations, Cholesky | SGD through `training.fit`", *rows)
    crossed = figures["crossing"]
    said = f"SGD is quicker from about {crossed:,.0f} variables on" if crossed else "SGD was not quicker at any size measured"
    note = f"Seconds, memory, relative error of the weights. {said} ({where(result)})."
    return f"{_setting(figures['settings'])}\n\n{grid}\n\n{note}"


def _point(method: str, measured: dict[str, float] | None, beyond: dict[str, float] | None) -> str:
    if measured:
        return f"{measured['seconds']:,.2f} s, {measured['megabytes']:,.0f} MB, {measured['error']:.2%}"
    if beyond and method == "normal equations":
        return f"*extrapolated: {beyond['seconds']:,.0f} s, {beyond['megabytes']:,.0f} MB*"
    return "–"


def _setting(settings: dict[str, float]) -> str:
    return (f"The labels have noise of {settings['noise_over_signal']:.1%} of their signal. "
            f"The closed forms take {settings['rows_per_variable']} rows per variable; "
            f"SGD makes one pass over {settings['passed_rows_per_variable']} rows per variable, "
            f"{settings['rows_a_step']} rows a step, and never sees a row twice.")


def linear_seconds() -> str:
    """How long the script takes."""
    result = committed("linear")
    return f"`python benchmarks/linear.py` took {result['figures']['seconds']:.0f} s ({where(result)})."


LINEAR_BLOCKS = {function.__name__: function for function in (
    linear_vending, linear_coverage, linear_closed_form, linear_rates, linear_sweep, linear_curve, linear_seconds)}
