"""The scores of an evaluation as JSON, as a table, and as the figures of a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.table import Table

from askew_training.errors import DataError
from askew_training.evaluate.benchmark import BenchmarkScores


@dataclass(frozen=True)
class Report:
    """The scores of some benchmarks, and the encoders of queries and gallery (`name@version`).

    `intake`: how many photos and lines were taken, and which were not. `foreign_space`: whether the queries were described
    in another space than the gallery, so that the figures say nothing of a product.
    """

    queries: str
    gallery: str
    space_id: str
    benchmarks: tuple[BenchmarkScores, ...]
    intake: Mapping[str, object] = field(default_factory=dict)
    foreign_space: bool = False

    @property
    def kind(self) -> str:
        """symmetric if one encoder described both sides, otherwise asymmetric."""
        return "symmetric" if self.queries == self.gallery else "asymmetric"

    def to_json(self) -> str:
        """Convert to JSON text."""
        return json.dumps({"kind": self.kind, **asdict(self)}, indent=2) + "\n"

    def to_table(self) -> Table:
        """Convert to a table for a person."""
        mark = " (TWO SPACES: the scores mean nothing)" if self.foreign_space else ""
        table = Table(title=f"{self.kind}: queries {self.queries}, gallery {self.gallery}{mark}")
        for column in ("benchmark", "set", "queries", "gallery", "mAP", "P@1", "R@5", "R@10"):
            table.add_column(column, justify="left" if column in {"benchmark", "set"} else "right")
        for benchmark in self.benchmarks:
            for set_name, scores in benchmark.by_set.items():
                table.add_row(
                    benchmark.benchmark,
                    set_name,
                    str(scores.queries),
                    str(benchmark.gallery),
                    f"{scores.mean_average_precision:.3f}",
                    f"{scores.precision_at_1:.3f}",
                    f"{scores.recall[5]:.3f}",
                    f"{scores.recall[10]:.3f}",
                )
        return table


def manifest_metrics(reports: Sequence[Path]) -> dict[str, float | str]:
    """Read the figures of reports for a manifest: `asymmetric.landmarks.together.mAP` and so on.

    Raises DataError for a file that is not a report.
    """
    metrics: dict[str, float | str] = {}
    for path in reports:
        try:
            report = json.loads(path.read_text(encoding="utf-8"))
            if report.get("foreign_space"):
                raise DataError(f"{path} compares two spaces. Its figures do not belong into an encoder file.")
            for benchmark in report["benchmarks"]:
                for set_name, scores in benchmark["by_set"].items():
                    name = f"{report['kind']}.{benchmark['benchmark']}.{set_name}"
                    metrics[f"{name}.mAP"] = round(float(scores["mean_average_precision"]), 4)
                    metrics[f"{name}.P@1"] = round(float(scores["precision_at_1"]), 4)
            metrics[f"{report['kind']}.queries"] = str(report["queries"])
            metrics[f"{report['kind']}.gallery"] = str(report["gallery"])
        except OSError as error:
            raise DataError(f"Expected a report, but {path} cannot be read: {error.strerror}.") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(f"{path} is not a report. Expected a file written by `askew evaluate --json`.") from None
    return metrics
