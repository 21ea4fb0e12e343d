"""Problems between sets: classes that are scored but never trained."""

from __future__ import annotations

from collections.abc import Sequence

from stylebridge.data.doctor.findings import Finding, SetSummary, Severity, listed, many


def set_findings(sets: Sequence[SetSummary]) -> list[Finding]:
    """Compare the classes of the labelled training and evaluation sets by name."""
    labelled = [s for s in sets if s.classes]
    trained = {c.name for s in labelled if s.role == "training" for c in s.classes if c.pixels}
    if not trained:
        return []
    findings = []
    for held_out in labelled:
        if held_out.role != "evaluation":
            continue
        names = [c.name for c in held_out.classes if c.pixels and c.name not in trained]
        if names:
            what = f"{many(len(names), 'class', 'classes')} of the evaluation never in training: {listed(names, 20)}."
            advice = "Their scores will be 0; map them to trained classes with --class-map."
            findings.append(
                Finding("untrained", Severity.MISLEADS, what, len(names), advice, domain=held_out.name)
            )
    return findings
