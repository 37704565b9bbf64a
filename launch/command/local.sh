#!/bin/sh
# A site's ranks on this machine, in the background: they live on when the site's agent ends or is killed, and
# the next agent finds them. In the run file:
#
#   provisioner:
#     kind: command
#     command:
#       start: [launch/command/local.sh, start]
#       stop: [launch/command/local.sh, stop]
#       poll: [launch/command/local.sh, poll]
#
# To start something else, change what stands after the "#>" marks. What a script is told (CURTAIL_...) and what
# its exit codes say is in README.md.
set -eu
own="$CURTAIL_DIRECTORY/command/$CURTAIL_SITE"
log="$CURTAIL_DIRECTORY/logs/$CURTAIL_SITE.log"
mkdir -p "$CURTAIL_DIRECTORY/command" "$CURTAIL_DIRECTORY/logs"

running() { # whether somebody holds the lock: a file of a dead machine says nothing
    ! flock --nonblock "$own.lock" true
}

case "$1" in
start)
    exec 9>"$own.lock" # held by all that inherits it, until the last of them has ended
    flock --nonblock 9 || exit 0
    rm -f "$own.pid" "$own.code"
    setsid nohup "$0" hold >>"$log" 2>&1 </dev/null &
    ;;
hold) # what `start` leaves behind
    #> The leash passes SIGTERM on, kills everything at SIGQUIT, and leaves no process behind.
    sh -c 'exec "$CURTAIL_PYTHON" -m curtail_dist.membership.provision.leash '"$$ '' $CURTAIL_TORCHRUN" &
    echo $! >"$own.part" && mv "$own.part" "$own.pid"
    code=0
    wait $! || code=$?
    echo "$code" >"$own.code"
    ;;
stop)
    #> SIGTERM lets ranks leave the run in order.
    signal=TERM
    [ "$CURTAIL_FORCE" = 0 ] || signal=QUIT
    tries=0
    while running && [ ! -f "$own.pid" ] && [ "$tries" -lt 50 ]; do # just started
        tries=$((tries + 1)) && sleep 0.1
    done
    ! running || kill -s "$signal" "$(cat "$own.pid")"
    ;;
poll)
    ! running || exit 0
    echo "ended $(cat "$own.code" 2>/dev/null || :)" | sed 's/ $//' # without a code where it was killed, too
    exit 1
    ;;
*)
    echo "usage: $0 start | stop | poll" >&2
    exit 2
    ;;
esac
