"""The table of all settings in docs/server.md, made from the settings themselves. `make settings` writes it."""

from __future__ import annotations

from pathlib import PurePath

from askew_server.settings import SettingDescription, describe_settings
from tests.support.paths import ROOT

PAGE = ROOT / "docs/server.md"
BEGIN = "<!-- The settings; written by `make settings` from askew_server/settings.py. -->\n"
END = "<!-- End of the settings. -->\n"
HEAD = "| option | environment | default | meaning |\n|---|---|---|---|\n"


def with_settings_table(page: str) -> str:
    """A page with the table between its two marks replaced by the one that the settings make now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    assert rest and after, f"{PAGE.name} has lost the marks around the table of settings"
    rows = "".join(map(_row, describe_settings().values()))
    return f"{before}{BEGIN}{HEAD}{rows}{END}{after}"


def _row(setting: SettingDescription) -> str:
    option = "" if setting.option is None else f"`{setting.option}`"
    return f"| {option} | `{setting.environment}` | {_shown(setting.default)} | {setting.text} |\n"


def _shown(default: object) -> str:
    match default:
        case None | []:
            return ""
        case bool():
            return "on" if default else "off"
        case str() | PurePath():
            return f"`{default}`"
        case int() if default >= 10_000:
            return f"{default:,}"
        case int() | float():
            return f"{default:g}"
    raise AssertionError(f"no form for the default {default!r}")


if __name__ == "__main__":
    PAGE.write_text(with_settings_table(PAGE.read_text()))
