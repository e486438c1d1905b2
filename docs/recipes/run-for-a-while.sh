#!/bin/sh
# Work on what is pending for a while. That the time is up (75), or that somebody else is at it (5), is no failure
# here: the next turn goes on. SIGTERM is passed on, also by a shell that is process 1 of a container.
set -u
datamigrate run --no-wait --max-time "${MAX_TIME:-25m}" &
run=$!
trap 'kill -TERM "$run"' INT TERM
wait "$run"
code=$?
# a signal ends the wait, not the run
while [ "$code" -gt 128 ] && kill -0 "$run" 2>/dev/null; do
    wait "$run"
    code=$?
done
case $code in
5 | 75) exit 0 ;;
*) exit "$code" ;;
esac
