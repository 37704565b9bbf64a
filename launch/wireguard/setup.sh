#!/usr/bin/env bash
# Makes WireGuard keys and configurations for the sites of a run, so that all of its ports can stay inside a tunnel.
#
#   setup.sh [--net 10.77.0] [--port 51820] OUT NAME=HOST[:PORT] NAME=HOST[:PORT] ...
#
# NAME is a site's name in the run file, or `etcd` for the machine where etcd runs, if that is no site's; HOST is the
# address or name at which the others reach that machine, by UDP. In OUT each gets a folder with curtail.conf: bring it
# to its machine, and to no other, and there say
#
#   install -m 600 curtail.conf /etc/wireguard/curtail.conf && systemctl enable --now wg-quick@curtail
#
# Needs `wg` (wireguard-tools), no root. What is in OUT are private keys: remove it once they are where they belong.
set -euo pipefail
umask 077

fail() {
    echo "setup.sh: $1" >&2
    exit "${2:-2}"
}

net=10.77.0 port=51820
while [[ ${1:-} == --* ]]; do
    [[ $# -ge 2 ]] || fail "$1 is given without a value"
    case $1 in
        --net) net=$2 ;;
        --port) port=$2 ;;
        *) fail "$1 is not known; it must be --net or --port" ;;
    esac
    shift 2
done
[[ $net =~ ^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$ ]] || fail "--net is $net; it must be three numbers, such as 10.77.0"
[[ $port =~ ^[0-9]{1,5}$ ]] || fail "--port is $port; it must be a number"
[[ $# -ge 3 ]] || fail "$# arguments were given; it must be OUT and at least two NAME=HOST[:PORT]"
command -v wg > /dev/null || fail "wg is not on the PATH; install wireguard-tools" 1
out=$1
shift
[[ ! -e $out ]] || fail "$out exists, and may hold keys that are in use; name another directory"
[[ $# -le 250 ]] || fail "$# machines were named; one net has room for 250"

names=() endpoints=()
for machine in "$@"; do
    [[ $machine =~ ^([A-Za-z0-9_-]+)=([A-Za-z0-9._-]+)(:([0-9]{1,5}))?$ ]] ||
        fail "$machine was given; it must be NAME=HOST or NAME=HOST:PORT"
    for name in "${names[@]}"; do
        [[ $name != "${BASH_REMATCH[1]}" ]] || fail "$name was given twice"
    done
    names+=("${BASH_REMATCH[1]}")
    endpoints+=("${BASH_REMATCH[2]}:${BASH_REMATCH[4]:-$port}")
done

private=() public=()
for _ in "${names[@]}"; do
    private+=("$(wg genkey)")
    public+=("$(wg pubkey <<< "${private[-1]}")")
done

for mine in "${!names[@]}"; do
    mkdir -p "$out/${names[mine]}"
    {
        printf '[Interface]\n# %s\nPrivateKey = %s\nAddress = %s.%d/24\nListenPort = %s\n' \
            "${names[mine]}" "${private[mine]}" "$net" "$((mine + 1))" "${endpoints[mine]##*:}"
        for other in "${!names[@]}"; do
            [[ $other != "$mine" ]] || continue
            printf '\n[Peer]\n# %s\nPublicKey = %s\nEndpoint = %s\nAllowedIPs = %s.%d/32\nPersistentKeepalive = 25\n' \
                "${names[other]}" "${public[other]}" "${endpoints[other]}" "$net" "$((other + 1))"
        done
    } > "$out/${names[mine]}/curtail.conf"
done

echo "$out holds a curtail.conf for each of: ${names[*]}"
echo "In the run file:"
echo "sites:"
for mine in "${!names[@]}"; do
    [[ ${names[mine]} == etcd ]] || printf '  %s:\n    address: %s.%d\n' "${names[mine]}" "$net" "$((mine + 1))"
done
for mine in "${!names[@]}"; do
    [[ ${names[mine]} != etcd ]] || printf 'coordination:\n  endpoints: [%s.%d:2379]\n' "$net" "$((mine + 1))"
done
