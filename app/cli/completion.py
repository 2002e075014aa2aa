"""The command that teaches a shell to complete the others."""

from __future__ import annotations

import click

_HOW = """\b
bash: eval "$(allocation completion bash)" in ~/.bashrc
zsh:  eval "$(allocation completion zsh)" in ~/.zshrc, behind compinit
fish: allocation completion fish > ~/.config/fish/completions/allocation.fish
"""


@click.command(epilog=_HOW)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what a shell needs to complete commands and options."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:  # The choices above are those that click knows.
        raise click.UsageError(f"nothing is known of {shell}")
    script = kind(context.find_root().command, {}, "allocation", "_ALLOCATION_COMPLETE")
    # Not by its own `source()`, which for bash first starts one to ask for its version.
    click.echo(script.source_template % script.source_vars())
