"""`python -m datamigrate` is the `datamigrate` command."""

from datamigrate.faces.cli import main

main()
