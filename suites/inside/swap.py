"""Loads our engine where settings say Django's, and leaves the settings as they are."""

from __future__ import annotations

from typing import Any

from django.db import utils

from . import proof, server


def install() -> None:
    """Swap the engine, and give every database the options of the pool."""
    options = server.pool()
    if options is None:
        return
    load = utils.load_backend
    configure = utils.ConnectionHandler.configure_settings

    def load_ours(name: str) -> Any:
        return load(server.ENGINES.get(name, name))

    def configure_with_pool(self: utils.ConnectionHandler, databases: Any) -> dict[str, Any]:
        configured: dict[str, Any] = configure(self, databases)
        for settings in configured.values():
            settings["OPTIONS"]["pool"] = dict(options)
        return configured

    utils.load_backend = load_ours  # type: ignore[assignment]
    utils.ConnectionHandler.configure_settings = (  # type: ignore[method-assign]
        configure_with_pool
    )
    proof.install()
