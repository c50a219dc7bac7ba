# The keeper: holds one PostgreSQL server and everything it leaves in files.
# It reads commands from its stdin, one a line. When stdin ends, because the
# process that writes it closed it or ended in any way, the server is shut down
# at once and its directory removed. keeper.go is the other end.
#
# usage: sh -c "$(cat keeper.sh)" keeper BINDIR FOLDER...
#   BINDIR  where initdb and postgres are; '' means PATH
#   FOLDER  where to make the directory; the first that can be written is taken
#
# Replies and the server's log share stdout, so that a reply comes after all
# that the server wrote before it.

exec 2>&1
trap '' PIPE # once that process has ended, writing here must not end the keeper
set -u
umask 077
ulimit -S -c 0
cd /
bin=${1:+$1/}
shift
say() { printf 'devpg-keeper: %s\n' "$*"; }

dir=
for folder; do
	dir=$(mktemp -d "$folder/devpg-XXXXXXXX" 2>/dev/null) && break
	dir=
done
if [ -z "$dir" ]; then
	say "failed: $(id -un 2>/dev/null || id -u) can make no directory in any of: $*"
	exit 1
fi
data=$dir/data
pid=
watcher=
run=0
say "ok $dir"

init() {
	set -- -D "$data" -U postgres --encoding=UTF8 --locale=C --no-sync
	if [ -n "${DEVPG_KEEPER_PASSWORD-}" ]; then
		printf '%s\n' "$DEVPG_KEEPER_PASSWORD" >"$dir/password"
		set -- "$@" --auth-local=trust --auth-host=scram-sha-256 --pwfile="$dir/password"
	else
		set -- "$@" --auth=trust
	fi
	"${bin}initdb" "$@" </dev/null || return 1
	if [ -n "${DEVPG_KEEPER_PASSWORD-}" ]; then
		printf 'host all,replication all all scram-sha-256\n' >>"$data/pg_hba.conf"
	fi
	printf "include = 'devpg.conf'\n" >>"$data/postgresql.conf"
}

# The fifo is held open by the postmaster and inherited by all its children, so
# its reader sees the end when the last of them has gone, not the first.
start() {
	[ -z "$pid" ] || wait "$pid" "$watcher" # reap: a zombie's pid counts as alive
	run=$((run + 1))
	mv "$dir/conf" "$data/devpg.conf"
	rm -f "$data/postmaster.pid" "$dir/alive"
	mkfifo "$dir/alive"
	{
		cat "$dir/alive" >/dev/null
		say "exited $run"
	} </dev/null &
	watcher=$!
	"${bin}postgres" -D "$data" </dev/null 5>"$dir/alive" &
	pid=$!
}

# children prints the pids of the living children of process $1.
children() {
	if [ -r /proc/self/stat ]; then
		for stat in /proc/[0-9]*/stat; do
			{ read -r p _ state parent _ <"$stat"; } 2>/dev/null || continue
			[ "$parent" = "$1" ] && [ "$state" != Z ] && echo "$p"
		done
	else
		ps -A -o pid= -o ppid= -o state= | while read -r p parent state; do
			case $state in Z*) continue ;; esac
			[ "$parent" = "$1" ] && echo "$p"
		done
	fi
}

# crash ends every process of the server by SIGKILL. The postmaster is stopped
# first: then it neither starts another child nor begins crash recovery. Each
# child leads a process group of its own, with the commands it has started.
crash() {
	[ -n "$pid" ] || return
	kill -STOP "$pid" || return
	while kids=$(children "$pid"); [ -n "$kids" ]; do
		for k in $kids; do kill -KILL "-$k" "$k"; done
	done 2>/dev/null
	kill -KILL "$pid"
}

while read -r command rest; do
	case $command in
	init) if init; then say ok; else say "failed: initdb failed"; fi ;;
	empty) if mkdir "$data"; then say ok; else say "failed: mkdir failed"; fi ;;
	standby) : >"$data/standby.signal" ;;
	conf) printf '%s\n' "$rest" >>"$dir/conf" ;;
	start) start ;;
	stop) kill -INT "$pid" ;;
	crash) crash ;;
	esac
done

if [ -n "$pid" ]; then
	kill -QUIT "$pid" 2>/dev/null
	kill -CONT "$pid" 2>/dev/null
	wait "$pid" "$watcher"
	# A crashed postmaster leaves its System V segment, whose id is the second
	# word of line 7.
	if [ -f "$data/postmaster.pid" ]; then
		ipcrm -m "$(sed -n '7s/.* //p' "$data/postmaster.pid")" 2>/dev/null
	fi
fi
rm -rf "$dir"
