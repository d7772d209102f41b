# SPDX-License-Identifier: Apache-2.0
"""The options that commands share: which store, which KEK, which keyring, which context."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from securekit.opening import STORE_VARIABLE, WRAP_VARIABLE, open_store

if TYPE_CHECKING:
    from securekit.keyring import KeyStore

__all__ = ["as_json", "parse_context", "with_optional_store", "with_store"]

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def with_store(command: F) -> F:
    """Give a command ``--store``, ``--wrap`` and ``--also-open``, and the open store as its first argument."""

    @_store_options
    @wraps(command)
    def run(*args: Any, url: str | None, wrap: tuple[str, ...], also_open: tuple[str, ...], **kwargs: Any) -> Any:  # noqa: ANN401 - whatever click passes
        store: KeyStore = open_store(url, wrap=list(wrap), also_open=list(also_open))
        return command(store, *args, **kwargs)

    return run  # type: ignore[return-value]


def with_optional_store(command: F) -> F:
    """Give a command the same options, and as its first argument a function that opens the store when it is needed."""

    @_store_options
    @wraps(command)
    def run(*args: Any, url: str | None, wrap: tuple[str, ...], also_open: tuple[str, ...], **kwargs: Any) -> Any:  # noqa: ANN401 - whatever click passes
        return command(lambda: open_store(url, wrap=list(wrap), also_open=list(also_open)), *args, **kwargs)

    return run  # type: ignore[return-value]


def _store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--also-open", multiple=True, metavar="NAME", help="A KEK that may open keyrings as well, and is not written."),
        click.option(
            "--wrap",
            multiple=True,
            envvar=WRAP_VARIABLE,
            metavar="NAME",
            help=f"Who holds the KEK, for example local:root.key; may be given several times.  [env: {WRAP_VARIABLE}]",
        ),
        click.option(
            "--store", "url", envvar=STORE_VARIABLE, metavar="NAME", help=f"The keystore, for example file:keys/  [env: {STORE_VARIABLE}]"
        ),
    ):
        command = option(command)
    return command


def parse_context(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the context of several ``key=value``."""
    context: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            message = f"a context is given as key=value, not {pair!r}"
            raise ValueError(message)
        if key in context:
            message = f"the context key {key!r} is given twice"
            raise ValueError(message)
        context[key] = value
    return context
