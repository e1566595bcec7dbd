"""The dashboard's own file: theme, colours and keys.

`$DYNAMOD_DASHBOARD`, else `$XDG_CONFIG_HOME/dynamod/dashboard.toml`, else `~/.config/dynamod/dashboard.toml`:

    theme = "night"                # any of Textual's, or one from below

    [keys]                         # by the id that docs/dashboard.md lists
    "app.quit" = "Q"
    "table.down" = "down,j,ctrl+n"

    [themes.night]                 # `primary` is required, the rest follows from it
    primary = "#88c0d0"
    background = "#10141a"
    dark = true
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from dynamo_tui.client.errors import ClientError


class SettingsError(ClientError):
    """The settings file cannot be used; the message names the file and the place."""


Colour = Annotated[str, msgspec.Meta(pattern=r"^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$")]


class ThemeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Colours as `#rrggbb`; those left out follow from the others."""

    primary: Colour
    secondary: Colour | None = None
    accent: Colour | None = None
    foreground: Colour | None = None
    background: Colour | None = None
    surface: Colour | None = None
    panel: Colour | None = None
    success: Colour | None = None
    warning: Colour | None = None
    error: Colour | None = None
    dark: bool = True

    def colours(self) -> dict[str, Any]:
        return {k: v for k, v in msgspec.structs.asdict(self).items() if v is not None}


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    theme: str | None = None
    keys: dict[str, str] = {}
    themes: dict[str, ThemeSettings] = {}


def settings_file(environ: Mapping[str, str]) -> Path:
    if configured := environ.get("DYNAMOD_DASHBOARD"):
        return Path(configured)
    base = environ.get("XDG_CONFIG_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".config")
    return Path(base) / "dynamod" / "dashboard.toml"


def load_settings(path: Path) -> Settings:
    """The settings in a file; an absent one has none.

    Raises:
        SettingsError: it cannot be read, or says something that is not a setting.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), type=Settings)
    except FileNotFoundError:
        return Settings()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}", remedy="mend its permissions") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        detail = str(error)
        if "regex" in detail:
            detail = f"a colour is written #rrggbb - at {detail.rpartition(' - at ')[2]}"
        raise SettingsError(f"{path}: {detail}", remedy="mend that line; docs/dashboard.md has an example") from None
