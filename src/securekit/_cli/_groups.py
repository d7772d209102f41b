# SPDX-License-Identifier: Apache-2.0
"""Groups of commands that know what a mistyped command may have meant."""

from __future__ import annotations

import click

__all__ = ["SuggestingGroup"]


class SuggestingGroup(click.Group):
    """Names the closest command when there is none of that name."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            close = get_close_matches(args[0], known, 1)
            ctx.fail(f"there is no command {args[0]!r}{f'; did you mean {close[0]!r}?' if close else ''}")
        return super().resolve_command(ctx, args)
