# SPDX-License-Identifier: Apache-2.0
"""``securekit completion``: what a shell needs to complete our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ._ui import handled

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
@handled
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete securekit's commands.

    \b
    bash:  eval "$(securekit completion bash)"                      in ~/.bashrc
    zsh:   eval "$(securekit completion zsh)"                       in ~/.zshrc
    fish:  securekit completion fish > ~/.config/fish/completions/securekit.fish
    """
    found = get_completion_class(shell)
    if found is None:  # pragma: no cover - click has had these three since version 8.0
        message = f"no completion for {shell}"
        raise ValueError(message)
    click.echo(found(ctx.find_root().command, {}, "securekit", "_SECUREKIT_COMPLETE").source())
