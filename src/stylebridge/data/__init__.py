"""Domains, label spaces, reading, augmentation, sampling and loading."""

from stylebridge.data.augment import Augmentation
from stylebridge.data.dataset import DomainDataset
from stylebridge.data.domain import Domain, DomainSummary, check_domain, open_domain
from stylebridge.data.label_inference import infer_label_space
from stylebridge.data.label_space import IGNORE, LabelSpace, builtin_label_spaces
from stylebridge.data.loader import Loader, evaluation_loader
from stylebridge.data.sampling import ClassBalancedSampler, RareClassSampler, Sampler, UniformSampler

__all__ = [
    "IGNORE",
    "Augmentation",
    "ClassBalancedSampler",
    "Domain",
    "DomainDataset",
    "DomainSummary",
    "LabelSpace",
    "Loader",
    "RareClassSampler",
    "Sampler",
    "UniformSampler",
    "builtin_label_spaces",
    "check_domain",
    "evaluation_loader",
    "infer_label_space",
    "open_domain",
]
