"""``triovit doctor``: every tool: found, needed, how to get it."""

import click

from triovit.cli import EXIT_USER
from triovit.output import emit, json_option, table


@click.command("doctor")
@json_option
@click.pass_context
def command(context: click.Context, as_json: str | None) -> None:
    """Check every tool: found, needed, how to get it. The exit code is 2 when one that is needed is missing."""
    from sim import toolchain

    checks = toolchain.checks()
    well = all(check.ok or check.optional for check in checks)

    def show() -> None:
        signs = ["ok" if check.ok else "absent" if check.optional else "MISSING" for check in checks]
        table(
            ("", "tool", "found", "needed", "how to get it"),
            [(sign, c.tool, c.found or "-", c.needed, c.remedy) for sign, c in zip(signs, checks, strict=True)],
        )
        verdict = "everything needed is here" if well else "something needed is missing; the last column tells how to get it"
        click.echo(f"\n{verdict}")

    emit({"ok": well, "checks": [{**check._asdict(), "optional": check.optional} for check in checks]}, as_json, show)
    context.exit(0 if well else EXIT_USER)
