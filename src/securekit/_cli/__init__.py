# SPDX-License-Identifier: Apache-2.0
"""The command line. One module per group of commands; what they do is in the library."""

from __future__ import annotations

import sys

import click

from ._groups import LazyGroup

__all__ = ["main"]

_COMMANDS = {
    "completion": ("_completion", "Print the script that makes a shell complete these commands."),
    "config": ("_config", "Encrypted configuration: engineers write it, and only hosts read it."),
    "decrypt": ("_encryption", "Decrypt a value, columns of a file, or sealed files and pipes."),
    "demo": ("_demo", "Show the main job on real input, step by step."),
    "encrypt": ("_encryption", "Encrypt a value or columns of a file; seal files and pipes to recipients."),
    "identity": ("_identity", "Make a private key with its certificate."),
    "inspect": ("_inspect", "Say what a message is, without any secret."),
    "keys": ("_keys", "Make, rotate, list and retire keys."),
    "password": ("_password", "Hash, verify and look at stored passwords; import tables of old ones."),
    "rewrap": ("_encryption", "Exchange the recipients of sealed files in place."),
    "rotate": ("_rotate", "Plan, run and prove rotations; what is due, and what to do when a key has leaked."),
    "vault": ("_vault", "Check how this host reaches Vault or OpenBao, and what it may do there."),
}


@click.group(cls=LazyGroup, modules=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
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
