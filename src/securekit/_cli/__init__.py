# SPDX-License-Identifier: Apache-2.0
"""The command line. One module per group of commands; what they do is in the library."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from ._groups import SuggestingGroup

__all__ = ["main"]

_COMMANDS = {
    "completion": ("_completion", "Print the script that makes a shell complete these commands."),
    "decrypt": ("_values", "Decrypt a value, or columns of a CSV or JSON-lines file."),
    "demo": ("_demo", "Show the main job on real input, step by step."),
    "encrypt": ("_values", "Encrypt a value, or columns of a CSV or JSON-lines file."),
    "identity": ("_identity", "Make a private key with its certificate."),
    "inspect": ("_inspect", "Say what a message is, without any secret."),
    "keys": ("_keys", "Make, rotate, list and retire keys."),
}


class _LazyGroup(SuggestingGroup):
    """Loads a command's module when the command is used, so that ``--help`` is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{_COMMANDS[cmd_name][0]}", __name__), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in _COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="securekit-platform", prog_name="securekit")
def cli() -> None:
    """Encrypt data, keep and rotate its keys.

    \b
    Start with:  securekit demo
    Your own:    securekit keys new-kek root.key
                 export SECUREKIT_STORE=file:keys/ SECUREKIT_WRAP=local:root.key
                 securekit keys create eu/acme/invoices
                 echo -n "DE89 3704 0044" | securekit encrypt --keyring eu/acme/invoices --context id=42

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 could not decrypt or verify.
    """


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    from ._ui import STOPPED, fail, show_warnings

    with show_warnings():
        try:
            code = cli.main(prog_name="securekit", standalone_mode=False)
        except click.Abort:
            fail("stopped", code=STOPPED)
        except click.ClickException as error:
            where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "securekit"
            fail(" ".join(error.format_message().split()), hint=f"{where} --help", code=error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
