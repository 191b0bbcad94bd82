"""What a plan costs, at prices that the user states with the day they were looked up. None is shipped."""

from __future__ import annotations

import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from askew_client.errors import AskewError
from askew_client.wording import describe_error
from askew_server.planning.figures import Figure
from askew_server.planning.plan import Plan

HOURS_A_MONTH = 730

TEMPLATE = """\
# Prices for `askew plan --prices`. Askew ships none: look yours up, fill them in, and write the day beside them.
# Take the # away in front of each line that you have filled in.

# currency = "EUR"
# date = 2026-01-31             # the day on which you looked them up

[machine]
# per_hour = 0.00               # one machine with the --cores and --memory of your plan, without a GPU

[disk]
# per_gb_month = 0.00           # 1 GB = 1,000,000,000 bytes

# One table for each GPU that you plan with.
# [gpu.h100]
# per_hour = 0.00               # one GPU, in addition to its machine
"""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


# Neither true nor "0.50" is a price, and no cost may be beyond what a float holds.
_Price = Annotated[float, Field(ge=0, le=1e12, strict=True, allow_inf_nan=False)]


class _Machine(_Strict):
    per_hour: _Price


class _Disk(_Strict):
    per_gb_month: _Price


class Prices(_Strict):
    """Prices of one day. `date`: when they were looked up."""

    currency: str = Field(pattern=r"^[^\x00-\x20\x7f-\x9f]{1,10}$")
    date: date
    machine: _Machine
    disk: _Disk
    gpu: dict[str, _Machine] = Field(default_factory=dict)


def read_prices(path: Path) -> Prices:
    """Read a file of prices. Raises AskewError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AskewError(
            f"The prices in {path} cannot be read: {error.strerror}. `askew plan --write-prices {path}` writes a file to fill in."
        ) from None
    # Text that is no UTF-8, no TOML, or nested too deep; a number of thousands of digits.
    except (ValueError, RecursionError) as error:
        raise AskewError(
            f"Expected prices as TOML in {path}, but it cannot be read: {error}. Mend that line."
        ) from None
    try:
        prices = Prices.model_validate(table)
    except ValidationError as error:
        raise AskewError(
            f"The prices in {path} are not complete: {describe_error(error)} Fill in currency, date, machine.per_hour and "
            "disk.per_gb_month."
        ) from None
    if prices.date > date.today():
        raise AskewError(
            f"The prices in {path} are of {prices.date}, which is yet to come. Write the day on which you looked them up."
        )
    return prices


def write_template(path: Path) -> None:
    """Write a file of prices to fill in. Raises AskewError if there is one already, OSError."""
    try:
        stream = path.open("x", encoding="utf-8")
    except FileExistsError:
        raise AskewError(
            f"{path} exists already, and your prices may be in it. Name another path, or delete it."
        ) from None
    try:
        with stream:
            stream.write(TEMPLATE)
    except BaseException:
        # Half of it would be taken for somebody's prices.
        path.unlink(missing_ok=True)
        raise


def cost_figures(plan: Plan, prices: Prices) -> list[Figure]:
    """What the plan costs a month, and its description once. Raises AskewError if the price of the GPU is missing."""
    machines = plan.number("machines")
    unit = f"{prices.currency}/month"
    hourly = prices.machine.per_hour
    formula = f"machines × {prices.machine.per_hour:g} an hour × {HOURS_A_MONTH} hours, prices of {prices.date}"
    if plan.wanted.gpu is not None:
        of_gpu = {name.lower(): each for name, each in prices.gpu.items()}.get(plan.wanted.gpu.lower())
        if of_gpu is None:
            raise AskewError(
                f"Expected the price of the GPU {plan.wanted.gpu}, but the prices have none. Add a table [gpu.{plan.wanted.gpu.lower()}] "
                "with per_hour."
            )
        hourly += plan.number("GPUs of one machine") * of_gpu.per_hour
        formula = f"machines × ({prices.machine.per_hour:g} + GPUs × {of_gpu.per_hour:g}) an hour × {HOURS_A_MONTH} hours, prices of {prices.date}"
    serving = machines * hourly * HOURS_A_MONTH
    disk = machines * plan.number("disk") / 1e9 * prices.disk.per_gb_month
    return [
        Figure("cost of machines", serving, unit, formula),
        Figure(
            "cost of disks",
            disk,
            unit,
            f"machines × disk × {prices.disk.per_gb_month:g} a GB and month, prices of {prices.date}",
        ),
        Figure("cost", serving + disk, unit, "cost of machines + cost of disks"),
        Figure(
            "cost of the description",
            plan.number("description") * prices.machine.per_hour,
            prices.currency,
            f"machine-hours × {prices.machine.per_hour:g}, once, prices of {prices.date}",
        ),
    ]
