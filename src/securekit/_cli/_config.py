# SPDX-License-Identifier: Apache-2.0
"""``securekit config``: encrypted configuration documents."""

from __future__ import annotations

import click

from ._groups import LazyGroup

__all__ = ["config"]

_COMMANDS = {
    "init": ("_config_values", "Make a new, empty document."),
    "encrypt": ("_config_values", "Encrypt the values of a document that patterns match."),
    "set": ("_config_values:set_value", "Set one value; takes no private key."),
    "unset": ("_config_values", "Remove a value, or a pattern."),
    "edit": ("_config_edit", "Change a document in your editor."),
    "get": ("_config_values", "Print one value."),
    "list": ("_config_values:list_values", "List the values, and which are encrypted."),
    "decrypt": ("_config_values", "Print the document in clear text."),
    "exec": ("_config_exec:exec_command", "Run a command with the values in its environment, or in files."),
    "recipients": ("_config_people", "Say who can read a document."),
    "rotate": ("_config_people", "Encrypt everything anew, under one new data key."),
    "sign": ("_config_people", "Sign a document, so that hosts believe it."),
    "trust": ("_config_people", "Print the entry of a trust.toml for a document."),
    "verify": ("_config_verify", "Check documents; takes no private key."),
    "doctor": ("_config_doctor", "Say what is wrong on this host, and how to repair it."),
    "diff": ("_config_git", "Show what differs between two versions, also for git."),
    "merge": ("_config_git", "Merge two versions, also for git."),
    "install-git": ("_config_git", "Set up git to show and merge documents."),
}


@click.group(cls=LazyGroup, modules=_COMMANDS)
def config() -> None:
    """Encrypt the passwords in configuration files: engineers write them, and only hosts read them.

    \b
    On the host:      securekit identity new --key host.key --cert host.pem --name web1.example
    Everywhere else:  securekit config encrypt production.yaml --environment production --recipient host.pem --encrypt db.password
                      securekit config set production.yaml db.password
    On the host:      securekit config get production.yaml db.password --identity host.key

    A value is named by its path: db.password, servers[0].token, "a.key.with.dots".x. A pattern may have * for a part of a key,
    ** for any depth and [*] for any item: db.*, **.secret*, tokens[*].
    """
