"""A plot as a page of its own: the picture, and the numbers that it shows."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from motools.sweeps.drawing import picture
from motools.sweeps.plots import Plot

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
figure { margin: 0 0 2rem; }
svg { height: auto; max-width: 100%; }
figcaption { color: #555; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid #ddd; padding: .2rem .8rem .2rem 0; text-align: left; }
td.number { text-align: right; }
"""


def page(plot: Plot) -> str:
    """HTML that needs nothing else, not even a network.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    drawn = picture(plot, "svg").decode()
    drawn = drawn[drawn.index("<svg") :]  # without the prolog of a file of its own
    rows = plot.rows
    columns = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in columns)
    body = "\n".join(f"<tr>{''.join(_cell(row[name]) for name in columns)}</tr>" for row in rows)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(plot.y)}</title>
<style>{_STYLE}</style>
</head>
<body>
<figure role="img" aria-label="{escape(plot.caption)}">
{drawn}
<figcaption>{escape(plot.caption)}</figcaption>
</figure>
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</body>
</html>
"""


def _cell(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f'<td class="number">{value:.4g}</td>'
    return f"<td>{'' if value is None else escape(str(value))}</td>"
