"""`python -m pmll_async.cli`: the command without its script."""

from pmll_async.cli.main import main

main()
