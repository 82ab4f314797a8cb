"""From the fields of an order to the run configuration of a step."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from backup_pipeline.model.orders import Order, options_of


def setting(order: type[Order], name: str, more: str = "", *, default: Any = None) -> Any:
    """A field of a step's configuration: described, and with the default, as in the order. `default` is that value in a
    type that Dagster shows; `more` is what the order cannot know of the graph."""
    one, how = next((one, how) for one, how in options_of(order).items() if one.name == name)
    chosen = default if default is not None else list(one.default) if one.default == () else one.default
    return Field(chosen, description=f"{how.help} {more}".strip())
