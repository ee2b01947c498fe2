"""The embedded benchmark `mini`: PACS's seven classes in four rendered domains."""

from __future__ import annotations

from hamdg.mini.arrays import DomainArrays, data_digest
from hamdg.mini.benchmark import CLASSES, COPIES, DOMAINS, class_counts, render_domain
from hamdg.mini.cache import load_domain

__all__ = [
    "CLASSES",
    "COPIES",
    "DOMAINS",
    "DomainArrays",
    "class_counts",
    "data_digest",
    "load_domain",
    "render_domain",
]
