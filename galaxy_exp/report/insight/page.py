"""All figures of a sweep on one interactive page, which needs no network."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from galaxy_exp.report.canvas import GREY, INK, TRAIN, VALIDATION
from galaxy_exp.report.insight.axes import offset, short_value
from galaxy_exp.report.insight.history import History, collect_history, is_wide
from galaxy_exp.report.insight.importance import NO_TEST, Importances
from galaxy_exp.report.insight.parallel import Parallel, collect_parallel
from galaxy_exp.report.insight.pareto import ParetoTrials, collect_pareto
from galaxy_exp.report.insight.rungs import Rungs, collect_rungs
from galaxy_exp.report.insight.slices import Slice, collect_slices

if TYPE_CHECKING:
    from galaxy_exp.journal.record import SweepRecord

__all__ = ["write_page"]

_STYLE = f"""
body {{ font: 15px/1.5 system-ui, sans-serif; color: {INK}; max-width: 1180px; margin: 2em auto; padding: 0 1em; }}
h1 {{ font-size: 1.5em; margin-bottom: 0; }} h2 {{ font-size: 1.15em; margin: 2em 0 0; }}
p {{ color: {GREY}; margin: 0.2em 0 0.6em; max-width: 60em; }}
"""

_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["sendChartToCloud", "sendDataToCloud", "lasso2d", "select2d", "autoScale2d"],
}
"""The page sends nothing anywhere, so it has no button for it either."""

_HEIGHT = 420
_PALE = "#9DB8CC"
_HOVER = "trial %{x}<br>%{y:.4g}<extra></extra>"


@dataclass(frozen=True, slots=True)
class _Section:
    title: str
    note: str
    figure: Any
    """A `plotly.graph_objects.Figure`."""


def write_page(record: SweepRecord, found: Importances, path: Path) -> Path:
    """Writes the page; the plotting library is in it, once.

    Args:
        found: of the same record.
    """
    from plotly.offline import get_plotlyjs

    body = [
        f"<h2>{html.escape(each.title)}</h2>\n<p>{html.escape(each.note)}</p>\n{_to_html(each.figure, f'f{index}')}"
        for index, each in enumerate(_sections(record, found))
    ]
    title = f"Sweep {html.escape(record.sweep_id)}"
    text = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>
<script>{get_plotlyjs()}</script></head>
<body><h1>{title}</h1><p>{html.escape(_summary(record))}</p>
{"".join(body)}
</body></html>
"""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _summary(record: SweepRecord) -> str:
    config = record.config
    simulated = "SIMULATED galaxies" if record.simulated else record.started.data_source
    names = ", ".join(f"{each.name} ({each.direction})" for each in record.objectives)
    trials = sum(trial.result is not None for trial in record.searched)
    return f"{trials} trials on {simulated}; {config.search.sampler} + {config.search.pruner}; objective {names}"


def _to_html(figure: Any, name: str) -> str:
    text: str = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=_CONFIG)
    return text


def _sections(record: SweepRecord, found: Importances) -> Iterator[_Section]:
    history = collect_history(record)
    if history.best:
        yield _Section("Optimisation history", "Every trial with a score, in order.", _draw_history(history))
    pareto = collect_pareto(record)
    if len(pareto.objectives) > 1 and pareto.values:
        note = "In orange, the trials that no other beats in one objective without losing in another."
        yield _Section("Pareto front", note, _draw_pareto(pareto))
    if found.shares:
        best = f"how the best {found.n_best} are distributed, against all"
        note = f"PED-ANOVA on {found.n_trials} trials: {best}. {NO_TEST}"
        yield _Section(f"What matters for {found.objective}", note, _draw_importances(found))
    parallel = collect_parallel(record)
    if parallel.columns:
        note = "Each line is a trial, the best in yellow. Drag along an axis to choose trials, or an axis by its name."
        yield _Section("Parallel coordinates", note, _draw_parallel(parallel))
    slices = collect_slices(record, list(found.shares))
    if slices:
        note = "The score against each hyperparameter by itself; later trials are darker, those stopped early smaller."
        yield _Section("Slices", note, _draw_slices(slices, record.objective.name))
    rungs = collect_rungs(record)
    if rungs.curves:
        yield _Section("Rung survival", f"{rungs.trained:,} epochs were trained in all.", _draw_survival(rungs))
        yield _Section("Learning curves", "Each trial up to where it ended, the best in orange.", _draw_curves(rungs))


def _dress(figure: Any, height: int = _HEIGHT) -> Any:
    """The same figure in the page's colours; the page itself has the titles."""
    return figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 60, "r": 20, "t": 30, "b": 50},
        font={"color": INK, "family": "system-ui, sans-serif"},
        legend={"orientation": "h", "y": 1.12},
        hovermode="closest",
    )


def _draw_history(history: History) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        x=list(history.best),
        y=list(history.best.values()),
        mode="lines",
        line={"shape": "hv", "color": VALIDATION},
        name="best so far",
        hoverinfo="skip",
    )
    for name, scores, colour in (("all epochs", history.completed, TRAIN), ("stopped early", history.stopped, _PALE)):
        marker = {"color": colour, "size": 8}
        figure.add_scatter(
            x=list(scores), y=list(scores.values()), mode="markers", name=name, marker=marker, hovertemplate=_HOVER
        )
    marker = {"color": INK, "size": 15, "symbol": "circle-open"}
    figure.add_scatter(
        x=list(history.settled),
        y=list(history.settled.values()),
        mode="markers",
        name="baseline or enqueued",
        marker=marker,
        hoverinfo="skip",
    )
    figure.update_xaxes(title="trial")
    figure.update_yaxes(title=history.objective, type="log" if is_wide(history.scores) else "linear")
    return _dress(figure)


def _draw_pareto(pareto: ParetoTrials) -> Any:
    from plotly.subplots import make_subplots

    first, *others = pareto.objectives
    figure = make_subplots(cols=len(others), shared_yaxes=True, horizontal_spacing=0.03)
    front = set(pareto.front)
    for column, objective in enumerate(others, start=1):
        for name, colour, numbers in (
            ("other trials", _PALE, [number for number in pareto.values if number not in front]),
            ("Pareto front", VALIDATION, pareto.front),
        ):
            figure.add_scatter(
                x=[pareto.values[number][column] for number in numbers],
                y=[pareto.values[number][0] for number in numbers],
                customdata=numbers,
                mode="markers",
                name=name,
                showlegend=column == 1,
                marker={"color": colour, "size": 9},
                hovertemplate="trial %{customdata}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
                row=1,
                col=column,
            )
        wide = is_wide([values[column] for values in pareto.values.values()])
        figure.update_xaxes(title=objective.name, type="log" if wide else "linear", row=1, col=column)
    figure.update_yaxes(title=first.name, row=1, col=1)
    return _dress(figure)


def _draw_importances(found: Importances) -> Any:
    import plotly.graph_objects as go

    names = list(found.shares)[::-1]
    shares = [found.shares[name] for name in names]
    figure = go.Figure(go.Bar(y=names, x=shares, orientation="h", marker_color=TRAIN, name="share"))
    figure.update_xaxes(tickformat=".0%", range=[0, min(1.0, 1.05 * max(*shares, 0.05))])
    return _dress(figure, 100 + 32 * len(names)).update_layout(showlegend=False)


def _draw_parallel(parallel: Parallel) -> Any:
    import plotly.graph_objects as go

    dimensions = [
        {
            "label": column.name,
            "values": column.positions,
            "tickvals": list(column.ticks),
            "ticktext": list(column.ticks.values()),
            "range": [min(0.0, *column.positions), max(1.0, *column.positions)],
        }
        for column in [*parallel.columns, parallel.score]
    ]
    line = {"color": list(range(len(parallel.trials))), "colorscale": "Viridis"}
    figure = _dress(go.Figure(go.Parcoords(line=line, dimensions=dimensions, labelangle=-20)), _HEIGHT + 60)
    return figure.update_layout(margin={"l": 110, "r": 60, "t": 90, "b": 30})


def _draw_slices(slices: list[Slice], objective: str) -> Any:
    from plotly.subplots import make_subplots

    columns = min(4, len(slices))
    rows = -(-len(slices) // columns)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[each.axis.name for each in slices],
        shared_yaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=0.26 / rows,
    )
    for index, each in enumerate(slices):
        row, column = index // columns + 1, index % columns + 1
        axis = each.axis
        values = [axis.choices.index(value) + 0.3 * offset(number) if axis.choices else value
                  for value, number in zip(each.values, each.trials, strict=True)]  # fmt: skip
        figure.add_scatter(
            x=values,
            y=each.scores,
            customdata=[[number, short_value(value)] for number, value in zip(each.trials, each.values, strict=True)],
            mode="markers",
            marker={
                "color": each.trials,
                "colorscale": [[0, "#CFE1F2"], [1, "#08306B"]],
                "size": [5 if is_stopped else 9 for is_stopped in each.stopped],
                "opacity": 1.0,
            },
            hovertemplate="trial %{customdata[0]}<br>%{customdata[1]}: %{y:.4g}<extra></extra>",
            showlegend=False,
            row=row,
            col=column,
        )
        if axis.choices:
            texts = [short_value(choice) for choice in axis.choices]
            figure.update_xaxes(tickvals=list(range(len(texts))), ticktext=texts, row=row, col=column)
            figure.update_xaxes(range=[-0.5, len(texts) - 0.5], row=row, col=column)
        elif axis.is_log:
            figure.update_xaxes(type="log", dtick=1, exponentformat="power", row=row, col=column)
    if is_wide([score for each in slices for score in each.scores]):
        figure.update_yaxes(type="log")
    figure.update_yaxes(title=objective, col=1)
    return _dress(figure, 120 + 230 * rows).update_layout(margin={"t": 60})


def _draw_survival(rungs: Rungs) -> Any:
    import plotly.graph_objects as go

    epochs = list(range(1, rungs.epochs + 1))
    line = {"shape": "vh", "color": TRAIN}
    figure = go.Figure(go.Scatter(x=epochs, y=rungs.survivors, mode="lines+markers", line=line, fill="tozeroy"))
    figure.update_xaxes(title="epoch", range=[0.5, rungs.epochs + 0.5], dtick=max(1, rungs.epochs // 10))
    figure.update_yaxes(title="trials that trained so long", rangemode="tozero")
    return _dress(figure)


def _draw_curves(rungs: Rungs) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, curve in rungs.curves.items():
        is_best = number == rungs.winner
        colour = VALIDATION if is_best else _PALE if number in rungs.stopped else TRAIN
        figure.add_scatter(
            x=list(range(1, len(curve) + 1)),
            y=curve,
            mode="lines+markers",
            name=f"trial {number}",
            line={"color": colour, "width": 3 if is_best else 1},
            marker={"size": 4},
            hovertemplate="epoch %{x}: %{y:.4g}",
        )
    figure.update_xaxes(title="epoch", dtick=max(1, rungs.epochs // 10))
    figure.update_yaxes(title=rungs.objective, type="log" if rungs.is_wide else "linear")
    return _dress(figure).update_layout(showlegend=False)
