"""A report as one page of HTML that needs no other file."""

import importlib.util
import io
from html import escape

from jaxinit.diagnosis.report import Finding, Report
from jaxinit.table import cell

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid #ddd; padding: .25rem .7rem; text-align: left }
section { border-left: 4px solid #e08214; margin: 1rem 0; padding: .2rem 1rem }
section.error { border-color: #d62728 } tr.ill td { background: #fdecea }
pre { background: #f5f5f5; overflow-x: auto; padding: .6rem } figure { margin: 1rem 0 }
svg { height: auto; max-width: 100% }
"""


def page(report: Report) -> str:
    """The text of the page; all that comes from the caller is escaped.

    Args:
        report: to show.

    Returns:
        HTML.
    """
    loss = "" if report.loss is None else f"<p>loss {escape(cell(report.loss))}</p>"
    found = "".join(map(_finding, report.findings)) or "<p>No finding: healthy.</p>"
    rules = f"<h2>Rules</h2><pre>{escape(report.rules)}</pre>" if report.rules else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>diagnosis</title>'
        f"<style>{_STYLE}</style></head><body><h1>Diagnosis</h1>{loss}{found}"
        f"<figure>{_picture(report)}</figure><h2>Layers</h2>{_table(report)}{rules}</body></html>\n"
    )


def _finding(finding: Finding) -> str:
    numbers = ", ".join(f"{name} {cell(float(x))}" for name, x in finding.evidence.items())
    where = ", ".join(finding.where) or "the whole"
    remedy = f"<pre>{escape(finding.remedy)}</pre>" if finding.remedy else ""
    return (
        f'<section class="{escape(finding.severity)}"><h3>{escape(finding.symptom)}</h3>'
        f"<p>{escape(finding.cause)}.</p><p>{escape(numbers)}</p><p>at {escape(where)}</p>"
        f"{remedy}</section>"
    )


def _table(report: Report) -> str:
    names, *rows = report.cells()
    marked = {path for finding in report.findings for path in finding.where}
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr{' class=ill' if row[0] in marked else ''}>"
        f"{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _picture(report: Report) -> str:
    if importlib.util.find_spec("matplotlib") is None:
        return ""
    import matplotlib

    from jaxinit.diagnosis.figure import figure

    text = io.StringIO()
    # Without a date, a creator or random identifiers, so that equal reports give equal pages.
    with matplotlib.rc_context({"svg.hashsalt": "jaxinit", "svg.fonttype": "none"}):
        figure(report).savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]
