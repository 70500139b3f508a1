# SPDX-License-Identifier: Apache-2.0
"""`async-chunking robot`: a first YAML for a robot, from its URDF or MJCF."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from async_chunking.robot.model.description import chosen, description, read_model
from async_chunking.storage import require_new


def robot(
    model: Annotated[Path, typer.Argument(help='A URDF or an MJCF.')],
    out: Annotated[
        Path | None, typer.Option(help='Where to write; to the terminal without.')
    ] = None,
    joints: Annotated[
        str, typer.Option(help='Some joints, separated by commas, in command order.')
    ] = '',
    degrees: Annotated[bool, typer.Option(help='Angles of this URDF are degrees.')] = False,
) -> None:
    """Write a first robot YAML from a URDF or an MJCF: joints, limits, and what to check."""
    if out is not None:
        require_new(out)
    read = read_model(model, degrees)
    names = [name.strip() for name in joints.split(',') if name.strip()]
    picked = chosen(read, names)
    text = description(model, read, picked)
    for name, why in read.skipped.items():
        typer.echo(f'skipped: {name} ({why})', err=True)
    if out is None:
        typer.echo(text, nl=False)
        return
    out.write_text(text, encoding='utf-8')
    typer.echo(f'{out}: {len(picked)} joints; see it move: up {out} sim:=follow policy:=wave')
