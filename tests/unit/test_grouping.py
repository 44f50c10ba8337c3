"""Tests that share what is dear to start are run by one worker."""

import pytest


def test_workers_know_the_group_of_a_test(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("not shared out by group: run with -n 2 --dist loadgroup")
    assert request.node.nodeid.endswith("@test_grouping")
