"""Fixtures of the store tests."""

from __future__ import annotations

import pytest

from pmll_async.stores.jsonl import store


@pytest.fixture(params=["packed", "plain"])
def both_formats(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores are made as they are now, and as releases made them that packed no keys."""
    monkeypatch.setattr(store, "PACKS", request.param == "packed")
