"""What stands around the figures: the encoders, the settings, how students land in their space, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from askew_training.evaluate.comparison.labels import settings_text
from askew_training.evaluate.comparison.record import Comparison
from askew_training.evaluate.reporting.placing import Placed
from askew_training.evaluate.reporting.results import dataset_name
from askew_training.evaluate.reporting.table import Heading, Line, Table, Value
from askew_training.evaluate.reporting.wording import counted, percent

MOST_IDS = 20


@dataclass(frozen=True)
class LeftOut:
    """Ids that did not enter the figures, the first of them. `more`: how many others there are, in words."""

    title: str
    ids: tuple[str, ...]
    more: str = ""


def encoders_table(comparison: Comparison) -> Table:
    """The encoder files: what they are, and the digest that tells one file from another."""
    lines = [
        Line(
            (each.label,),
            (
                *(
                    Value(text)
                    for text in (
                        each.recipe or "not stated",
                        f"{each.dim:,}",
                        f"{each.photo_size:,}",
                        ", ".join(f"{scale:.4g}" for scale in each.scales),
                        each.space_id[:12],
                        each.sha256[:12],
                    )
                ),
            ),
        )
        for each in comparison.encoders
    ]
    heads = ("recipe", "dimension", "photo size, px", "scales", "space", "SHA-256 of the file")
    return Table("Encoders", ("encoder",), (Heading("", len(heads)),), heads, tuple(lines), name_at=0)


def alignment_table(comparison: Comparison) -> Table | None:
    """How each student lands in its teacher's space; None if the comparison did not measure that."""
    if not comparison.alignments:
        return None
    depths = sorted({k for each in comparison.alignments for k in each.overlap})
    lines = []
    for each in comparison.alignments:
        overlaps = [Value(percent(each.overlap[k])) if k in each.overlap else None for k in depths]
        flips = None if each.order_flips is None else Value(percent(each.order_flips))
        labels = (str(each.row + 1), comparison.rows[each.row].label, each.dataset)
        cosines = (Value(f"{each.mean_cosine:.3f}"), Value(f"{each.low_cosine:.3f}"))
        lines.append(Line(labels, (Value(f"{each.photos:,}"), *cosines, *overlaps, flips)))
    heads = ("photos", "mean", "5th percentile", *(f"of the first {k}, %" for k in depths), "order flips, %")
    groups = [Heading("", 1), Heading("cosine to the gallery's encoder", 2)]
    groups += [Heading("neighbours in common", len(depths))] if depths else []
    among = max(each.flips_among for each in comparison.alignments)
    return Table(
        "Queries described by both encoders of a pair",
        ("", "queries → gallery", "dataset"),
        (*groups, Heading("", 1)),
        heads,
        tuple(lines),
        (f"Order flips: the share of pairs among the first {among} that stand in the opposite order.",),
    )


def settings_lines(comparison: Comparison) -> list[str]:
    """A sentence for each dataset and protocol: its average precision, and the settings that all its measurements share."""
    lines = []
    for column in comparison.columns:
        rest = f"; {settings_text(column.settings)}" if column.settings else ""
        lines.append(
            f"{dataset_name(column, comparison.columns)} {column.protocol}: average precision by the "
            f"{column.average_precision} rule{rest}."
        )
    return list(dict.fromkeys(lines))


def left_out_of(comparison: Comparison, placed: Placed) -> list[LeftOut]:
    """What the measurements excluded, by reason, and the pairs that the comparison skipped."""
    found: dict[tuple[str, str, tuple[str, ...]], list[int]] = {}
    for (row, column), measurement in sorted(placed.items(), key=lambda entry: (entry[0][1], entry[0][0])):
        described = comparison.columns[column]
        for reason, ids in measurement.excluded.items():
            if ids:
                found.setdefault(
                    (f"{dataset_name(described, comparison.columns)} {described.protocol}", reason, ids), []
                ).append(row + 1)
    entries = []
    for (name, reason, ids), rows in found.items():
        of = f"row {rows[0]}" if len(rows) == 1 else f"rows {', '.join(map(str, rows))}"
        more = f"and {len(ids) - MOST_IDS:,} more" if len(ids) > MOST_IDS else ""
        entries.append(LeftOut(f"{name}, {of}: {counted(len(ids), 'id')}, {reason}", ids[:MOST_IDS], more))
    entries += [
        LeftOut(f"{each.queries} on {each.gallery}: not measured. {each.reason}", ()) for each in comparison.skipped
    ]
    return entries


def summary_of(comparison: Comparison, placed: Placed) -> str:
    """One sentence: how much was measured."""
    datasets: Sequence[str] = list(dict.fromkeys(each.dataset for each in comparison.columns))
    queries = {(each.dataset, query.id) for each in placed.values() for query in each.counted}
    return (
        f"{counted(len(comparison.rows), 'pair')} of encoders on {counted(len(datasets), 'dataset')} "
        f"({', '.join(datasets)}), {counted(len(queries), 'query', 'queries')}."
    )
