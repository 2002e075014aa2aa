"""The command that prints completion scripts for shells."""

from __future__ import annotations

import click

_INSTALLATION = """\b
bash: eval "$(allocation completion bash)" in ~/.bashrc
zsh:  eval "$(allocation completion zsh)" in ~/.zshrc, behind compinit
fish: allocation completion fish > ~/.config/fish/completions/allocation.fish
"""


@click.command(epilog=_INSTALLATION)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script with which a shell completes commands and options."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # Click supports all choices above.
        raise click.UsageError(f"{shell} is not supported")
    script = kind(context.find_root().command, {}, "allocation", "_ALLOCATION_COMPLETE")
    # Click's own `source()` starts bash to find out its version.
    click.echo(script.source_template % script.source_vars())
