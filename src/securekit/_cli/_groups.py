# SPDX-License-Identifier: Apache-2.0
"""Groups of commands that know what a mistyped command may have meant, and load no command before it is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

__all__ = ["LazyGroup", "SuggestingGroup"]


class SuggestingGroup(click.Group):
    """Names the closest command when there is none of that name."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            close = get_close_matches(args[0], known, 1)
            ctx.fail(f"there is no command {args[0]!r}{f'; did you mean {close[0]!r}?' if close else ''}")
        return super().resolve_command(ctx, args)


class LazyGroup(SuggestingGroup):
    """Loads a command's module when the command is used, so that ``--help`` is fast.

    Args:
        modules: For each command the module that has it, and its line of help. The attribute has the command's name with ``_``
            for ``-``, unless it is named behind a colon.
        options: As `click.Group`.
    """

    def __init__(self, *args: Any, modules: Mapping[str, tuple[str, str]], **options: Any) -> None:  # noqa: ANN401 - click's
        super().__init__(*args, **options)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in self._modules:
            return None
        module, _, attribute = self._modules[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f".{module}", __package__), attribute or cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._modules.items()])
