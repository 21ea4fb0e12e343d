"""What an adaptation works on."""

from __future__ import annotations

from dataclasses import dataclass

from stylebridge.data.domain import Domain, DomainSummary
from stylebridge.jobs.datasets.domains import AdaptationDomains
from stylebridge.jobs.recipe.adapt import AdaptRecipe
from stylebridge.jobs.tasks.base import Work


@dataclass
class AdaptationData:
    """The domains, what a look at all files of source and target showed, and the source in the target's look, which is
    made before the stages (None: the recipe has no translator)."""

    domains: AdaptationDomains
    source: DomainSummary
    target: DomainSummary
    translated: Domain | None = None


AdaptWork = Work[AdaptRecipe, AdaptationData]
