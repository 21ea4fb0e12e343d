"""``stylebridge adapt``: adapt a segmentation model to an unlabelled domain."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from stylebridge.cli.train import adapt_train, recipes_of


class _TrainsByDefault(TyperGroup):
    """``stylebridge adapt --source X …`` is short for ``stylebridge adapt train --source X …``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert ``train`` before options that are not the group's own."""
        if args and args[0].startswith("-") and args[0] not in ("--help", "--"):
            args = ["train", *args]
        return super().parse_args(ctx, args)


adapt_app = typer.Typer(
    cls=_TrainsByDefault,
    help="Adapt a segmentation model to an unlabelled domain: train it, and use it. `adapt --source …` is short for "
    "`adapt train --source …`.",
    no_args_is_help=True,
)
adapt_app.command("train")(adapt_train)
adapt_app.command("recipes")(recipes_of("adapt"))
