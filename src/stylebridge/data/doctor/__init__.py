"""The data doctor: reads data sets once, reports problems, and writes corrected copies."""

from stylebridge.data.doctor.box_rules import ExaminedBoxes, examine_boxes
from stylebridge.data.doctor.duplicates import duplicate_findings
from stylebridge.data.doctor.examine import Examined, examine, read_facts, summarise
from stylebridge.data.doctor.findings import Finding, SetSummary, Severity, by_severity
from stylebridge.data.doctor.fix import FixSummary, fix_set
from stylebridge.data.doctor.image_rules import image_findings
from stylebridge.data.doctor.label_rules import label_findings
from stylebridge.data.doctor.listing import Listed, list_set
from stylebridge.data.doctor.quick import quick_check
from stylebridge.data.doctor.set_rules import set_findings

__all__ = [
    "Examined",
    "ExaminedBoxes",
    "Finding",
    "FixSummary",
    "Listed",
    "SetSummary",
    "Severity",
    "by_severity",
    "duplicate_findings",
    "examine",
    "examine_boxes",
    "fix_set",
    "image_findings",
    "label_findings",
    "list_set",
    "quick_check",
    "read_facts",
    "set_findings",
    "summarise",
]
