"""Reports of runs: pictures, learning curves and the self-contained HTML page."""

from stylebridge.report.html import (
    AdaptationReport,
    DomainFacts,
    SourceSample,
    StageTiming,
    Table,
    TargetSample,
    write_report,
)
from stylebridge.report.pictures import overlay, sample_grid

__all__ = [
    "AdaptationReport",
    "DomainFacts",
    "SourceSample",
    "StageTiming",
    "Table",
    "TargetSample",
    "overlay",
    "sample_grid",
    "write_report",
]
