"""The contents of /metrics, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import aiohttp
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, frozenset[tuple[str, str]]]
"""The name of one, and its labels."""


class ScrapedMetrics:
    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = list(families)
        self._samples = [sample for family in self.families for sample in family.samples]

    @property
    def series(self) -> Mapping[Series, float]:
        return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in self._samples}

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series of this name that have these labels; 0 if there are none."""
        named = (sample for sample in self._samples if sample.name == name)
        return sum(sample.value for sample in named if labels.items() <= sample.labels.items())

    def by(self, label: str, name: str) -> dict[str, float]:
        """The series of this name, summed up by the values of this label."""
        values = {sample.labels[label] for sample in self._samples if sample.name == name}
        return {value: self.total(name, **{label: value}) for value in values}


async def scrape(http: aiohttp.ClientSession, headers: Mapping[str, str] | None = None) -> ScrapedMetrics:
    async with http.get("/metrics", headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        return ScrapedMetrics(text_string_to_metric_families(await answer.text()))
