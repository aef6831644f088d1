#!/bin/bash
# SPDX-License-Identifier: MIT
# check_fetch: examples/fetch against a server on loopback that is quick, slow, broken, huge and refusing (tests/httpd.c). In every case
# each URL has one line, the exit status tells whether all were fetched, and the session is closed exactly once; also with a collection at
# every call of the library, which a build with --enable-checks makes.
set -u
build=${abs_top_builddir:-.}
program=$build/examples/fetch server=$build/tests/httpd
[ -x "$program" ] || { echo "$program was not built: libcurl was not found"; exit 77; }
[ -x "$server" ] || { echo "$server was not built: libmicrohttpd was not found"; exit 77; }
case $program in /*) ;; *) program=$PWD/$program server=$PWD/$server ;; esac
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY

work=$(mktemp -d) || exit 99
cd "$work" || exit 99
mkfifo input ports || exit 99
"$server" "$work/log" <input >ports &
# The server ends with its input: when this shell ends, however it does.
exec 9>input
trap 'exec 9>&-; wait; rm -rf "$work"' EXIT
trap 'exit 99' INT TERM HUP
read -r good_port bad_port <ports || exit 99
good=http://127.0.0.1:$good_port bad=http://127.0.0.1:$bad_port
failures=0 closed=0 closed_at_exit=0

fail()
{
	echo "FAIL: $*"
	sed 's/^/    out: /' out
	sed 's/^/    err: /' err
	failures=$((failures + 1))
}

# The session's last words, whatever happened before: once.
check_closed()
{
	local n
	n=$(grep -c 'the session was closed' err)
	[ "$n" = 1 ] && ! grep -q 'AGAIN' err || fail "$1: the session was closed $n times"
	closed=$((closed + 1))
	! grep -q 'closed, at exit' err || closed_at_exit=$((closed_at_exit + 1))
}

# run STATUS ARGUMENT...
run()
{
	local wanted=$1 got
	shift
	: >"$work/log"
	"$program" "$@" >out 2>err 9>&- </dev/null
	got=$?
	[ $got = "$wanted" ] || fail "fetch $*: status $got, not $wanted"
	check_closed "fetch $*"
}

# says TEXT: exactly one line of stderr has it.
says()
{
	[ "$(grep -cF -- "$1" err)" = 1 ] || fail "stderr does not say once: $1"
}

# receives URL TEXT: exactly one line of stdout for it.
receives()
{
	[ "$(grep -cxF -- "Received response from $1: $2" out)" = 1 ] || fail "not received once: $1: $2"
}

lines()
{
	[ "$(wc -l <out)" = "$1" ] || fail "stdout has not $1 lines"
}

# requests N PATH: the server saw so many.
requests()
{
	[ "$(grep -cxF -- "$2" "$work/log")" = "$1" ] || { fail "not $1 requests for $2"; cat "$work/log"; }
}

# ---- the cases ----

answers()
{
	run 0 "$good/slow/200" "$good/text/hello" "$good/empty" "$good/control" "$good/redirect/bytes/150"
	lines 5
	receives "$good/slow/200" slow
	grep -qxF "Received response from $good/empty: " out || fail "the empty body is no empty line"
	receives "$good/control" 'a?[31mb\tc\r\n?d ä ?e?'
	# A hundred characters, as the Python program prints.
	receives "$good/redirect/bytes/150" "$(printf '%0100d' 0 | tr 0 x)"
	says '5 received, 0 failed, 0 cancelled; 5 transfers, 0 shared, 0 aborted'
}

# One URL in three spellings is one response.
sharing()
{
	local url
	run 0 "$good/text/one" "$good/text/one" "HTTP://127.0.0.1:$good_port/text/one#part"
	requests 1 /text/one
	lines 3
	[ "$(sed 's/.*: //' out | sort -u | wc -l)" = 1 ] || fail "one URL, several responses"
	says '3 received, 0 failed, 0 cancelled; 1 transfers, 2 shared, 0 aborted'
	# A failure reaches all who wait for it.
	run 1 "$good/status/500" "$good/status/500"
	requests 1 /status/500
	[ "$(grep -c 'the server answered with status 500' err)" = 2 ] || fail "a shared failure was not told twice"
	# What is held from the round before is found; a failure is not kept.
	run 1 --rounds 3 "$good/text/two" "$good/status/404"
	requests 1 /text/two
	requests 3 /status/404
	lines 3
	# What nobody holds is not found, but for one that a stray word may keep.
	# shellcheck disable=SC2046 # URLs have no blanks here
	run 0 --rounds 2 --forget $(for url in 1 2 3 4 5 6 7 8; do echo "$good/text/$url"; done)
	[ "$(wc -l <"$work/log")" -ge 14 ] || { fail "forgotten responses were found"; cat "$work/log"; }
	lines 16
}

# Another cache than a weak one: it holds what nobody else does, as many as it may.
caching()
{
	run 0 --rounds 2 --forget --cache maximumSize=10 "$good/text/1" "$good/text/2" "$good/text/3"
	[ "$(wc -l <"$work/log")" = 3 ] || fail "three responses in a cache for ten were not found"
	lines 6
	run 0 --rounds 2 --cache maximumSize=0 "$good/text/1" "$good/text/1"
	requests 4 /text/1
	run 0 --rounds 2 --cache weakValues,expireAfterWrite=0s "$good/text/1"
	requests 2 /text/1
}

broken()
{
	local path
	run 1 "$bad/short" "$bad/garbage" "$bad/reset" "$bad/chunks" "$bad/headers" "$bad/hangup" http://127.0.0.1:1/ "$good/text/well"
	lines 1
	for path in short garbage reset chunks headers hangup; do says "$bad/$path: "; done
	says 'http://127.0.0.1:1/: Failed to connect'
	says '1 received, 7 failed, 0 cancelled'
	run 1 --timeout 0.3 "$bad/silent" "$good/slow/3000" "$good/drip/200"
	lines 0
	[ "$(grep -cE 'timed out after (2|[3-9]|[0-9]{2,})[0-9]{2} milliseconds' err)" = 3 ] || fail "three that are too slow were not told so"
}

limits()
{
	# Announced and not announced; the largest that is allowed.
	run 1 --max-bytes 2K "$good/bytes/2049" "$good/bytes/2048" "$good/bytes/5000000"
	lines 1
	[ "$(grep -c 'larger than --max-bytes' err)" = 2 ] || fail "two that are too large were not told so"
	run 0 --max-bytes 8M "$good/bytes/5000000"
	run 1 --redirects 2 "$good/around" "$good/out" "$good/redirect/redirect/text/x" "$good/redirect/redirect/redirect/text/y"
	lines 1
	says "$good/around: Maximum (2) redirects followed"
	says "$good/out: "
	requests 3 /around
	run 1 ftp://127.0.0.1/ file:///etc/passwd 'http://a b/' "$good/text/x"
	lines 1
	[ "$(grep -c 'only http and https' err)" = 2 ] || fail "other protocols were not refused"
	run 1 ftp://127.0.0.1/
}

cancelling()
{
	local child status
	# In flight, queued, and one that another task waits for as well.
	run 0 --first 1 --parallel 3 "$bad/silent" "$good/drip/1000" "$good/text/x" "$good/slow/5000" "$bad/silent"
	lines 1
	says '1 received, 0 failed, 4 cancelled; 3 transfers, 1 shared, 3 aborted'
	# Dropped: the collector cancels.
	run 1 --deadline 0.5 "$bad/silent" "$good/drip/1000" "$good/text/x" "$bad/silent"
	lines 1
	[ "$(grep -c 'not done by the deadline' err)" = 3 ] || fail "three that were dropped were not told so"
	says '1 received, 0 failed, 3 cancelled; 3 transfers, 1 shared'
	: >"$work/log"
	"$program" "$bad/silent" "$good/text/x" "$good/drip/1000" >out 2>err 9>&- </dev/null &
	child=$!
	for _ in $(seq 100); do
		grep -q x "$work/log" && grep -q silent "$work/log" && [ -s out ] && break
		sleep 0.05
	done
	kill -TERM $child
	wait $child 2>/dev/null
	status=$?
	[ $status = 143 ] || fail "stopped by SIGTERM: status $status"
	check_closed "after SIGTERM"
	says '1 received, 0 failed, 2 cancelled; 3 transfers, 0 shared, 2 aborted'
}

everything()
{
	answers
	sharing
	caching
	broken
	limits
	cancelling
}

everything
WEAKREF_COLLECT_EVERY=1
export WEAKREF_COLLECT_EVERY
everything
unset WEAKREF_COLLECT_EVERY

# Many, a few at a time, with a collection now and then; and at a time it is.
many=$(for i in $(seq 300); do echo "$good/text/$((i % 200))"; done)
# shellcheck disable=SC2086 # URLs have no blanks here
run 0 --parallel 20 $many
lines 300
[ "$(sort "$work/log" | uniq -d | wc -l)" = 0 ] || fail "a URL was asked for twice"
begin=$SECONDS
run 0 --parallel 8 "$good/slow/3001" "$good/slow/3002" "$good/slow/3003" "$good/slow/3004" "$good/slow/3005" "$good/slow/3006" "$good/slow/3007"
[ $((SECONDS - begin)) -lt 20 ] || fail "seven transfers of three seconds took $((SECONDS - begin))"

# Progress: a line a second where it is asked for, bars on a terminal, silence elsewhere.
run 0 "$good/drip/120"
[ "$(wc -l <err)" = 2 ] || fail "progress where nobody asked for it"
"$program" --quiet "$good/empty" >out 2>err 9>&- || fail "--quiet"
[ ! -s err ] || fail "--quiet is not quiet"
run 0 --progress lines "$good/drip/150"
grep -q "fetch: $good/drip/150: [0-9]* of 10 bytes" err || fail "no line of progress"
if command -v script >/dev/null; then
	: >err
	script -qec "stty cols 100 rows 24; '$program' '$good/drip/100' '$good/bytes/3000000'" /dev/null >out 2>&1 9>&- </dev/null
	grep -qaE '\[#+\.+\] [1-9] of 10 bytes +http' out || fail "no bar on a terminal"
	tail -n 1 out | grep -qa 'the session was closed' || fail "something is left on the terminal"
fi

# ---- command line ----

"$program" --cache weakValues,softValues "$good/empty" >out 2>err 9>&-
[ $? = 2 ] || fail "a cache that cannot be: status not 2"
says '--cache weakValues,softValues: '

"$program" --help >out 2>err || fail "--help"
grep -q -- '--max-bytes' out || fail "--help does not tell of --max-bytes"
for wrong in --nonsense --max-bytes=0 --max-bytes=1X --max-bytes=99999999999G --timeout=0 --timeout=nan --parallel=0 --parallel=-1 --redirects=x \
	--first=0 --deadline=-1 --rounds=1x --progress=always ''; do
	# shellcheck disable=SC2086 # the last is none at all
	"$program" $wrong ${wrong:+"$good/empty"} >out 2>err
	[ $? = 2 ] || fail "fetch $wrong: status not 2"
	[ -s err ] && [ ! -s out ] || fail "fetch $wrong: not a message alone"
done

echo "$closed sessions, each closed once, $closed_at_exit of them at exit"
[ $((closed_at_exit * 4)) -le $closed ] || fail "the collector closes too few sessions"
[ $failures -eq 0 ]
