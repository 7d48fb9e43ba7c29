"""Published networks: each has its source."""

from __future__ import annotations

from nas_budget import ResNetSpec, cost
from nas_budget.report.tables.known import known_networks, reference


def test_the_reference_is_the_papers_network_to_the_parameter() -> None:
    used = cost(ResNetSpec((32, 64, 96, 128, 185)))
    assert (reference().params, reference().macs, reference().accuracy) == (used.params, used.macs, 0.9308)
    assert known_networks("mine") == []


def test_every_published_network_has_a_source() -> None:
    known = known_networks("cifar10")
    assert len({network.name for network in known}) == len(known) > 5
    for network in known:
        assert network.source
        assert 0.5 < network.accuracy < 1
        assert 10_000 < network.params < 10**8
