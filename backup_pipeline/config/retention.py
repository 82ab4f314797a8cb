"""`retention:` and `scrub:`: how long backups stay, and how often everything is read back."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from backup_pipeline.config.strict import Strict
from backup_pipeline.config.values import Cron, Duration
from backup_pipeline.model.ids import is_backup_id


def _backup_id(value: str) -> str:
    """A pin that means nothing keeps nothing."""
    if not is_backup_id(value):
        raise ValueError(
            f"{value!r} is not the id of a backup; write it as `backup-pipeline list` does, e.g. 2026-11-21T02-00-00-123Z"
        )
    return value


Count = Annotated[int, Field(ge=0, le=100_000)]


class RetentionSettings(Strict):
    """One of these rules is enough to keep a backup. In the time zone of the system."""

    #: The newest so many.
    last: Count = 0
    #: The newest one of each of the last so many days, ISO weeks, months, years that have one.
    daily: Count = 0
    weekly: Count = 0
    monthly: Count = 0
    yearly: Count = 0
    #: No younger backup goes, against every rule.
    min_age_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    #: Ids that stay for ever; `pin` adds more without touching the file.
    pin: tuple[Annotated[str, AfterValidator(_backup_id)], ...] = ()
    #: replace: of the backups of one day (of the same kind) only the newest stays, min_age_days or not.
    same_day: Literal["keep", "replace"] = "keep"
    #: How long a backup that was made before a restore stays, and with it the restore can be undone.
    pre_restore: Duration = 30 * 86400
    #: How long an object that nothing names any more stays, so that a running backup can still name it.
    grace: Duration = 86400
    #: When to prune; without it, `prune` is a command.
    schedule: Cron | None = None

    @model_validator(mode="after")
    def _keeps_something(self) -> RetentionSettings:
        if not any((self.last, self.daily, self.weekly, self.monthly, self.yearly)):
            raise ValueError("it keeps nothing: set at least one of last, daily, weekly, monthly, yearly")
        return self


class ScrubSettings(Strict):
    """Reading everything back, a part each time, so that all of it was read within the window."""

    #: Once a month unless it says otherwise; null: only by hand.
    schedule: Cron | None = "0 6 1 * *"
    window_days: Annotated[int, Field(ge=1, le=3650)] = 30
