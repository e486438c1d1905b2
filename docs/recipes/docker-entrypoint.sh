#!/bin/sh
# The schema, then the data, then what the container is for. Without a command it ends with the data and with
# datamigrate's exit code; by `exec` a SIGTERM reaches it and lets its batch finish.
set -eu
alembic upgrade head
[ "$#" -gt 0 ] || exec datamigrate run
datamigrate run
exec "$@"
