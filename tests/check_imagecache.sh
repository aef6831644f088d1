#!/bin/sh
# SPDX-License-Identifier: MIT
# check_imagecache: the demonstration program on real files: pictures that it drew, and files that are no pictures, in every way
# that we know.
#
# The program: $IMAGECACHE, else examples/imagecache in the build directory. Exit status 77 where it was not built.
# What is checked: exit status, messages that name the files, the table's sums, the chart, silence where nobody watches, the
# clean-up after a signal, and the difference that the program is there to show.
set -u
build=${abs_top_builddir:-.}
program=${IMAGECACHE:-$build/examples/imagecache}
[ -x "$program" ] || { echo "$program was not built"; exit 77; }
case $program in /*) ;; *) program=$PWD/$program ;; esac

# A freed buffer of libpng must not count as memory in use: the address sanitizer would keep 256 MiB of them.
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}quarantine_size_mb=1:thread_local_quarantine_size_kb=64
export ASAN_OPTIONS

work=$(mktemp -d) || exit 99
trap 'chmod -R u+rwx "$work" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 99' INT TERM HUP
cd "$work" || exit 99
mkdir temporary
TMPDIR=$work/temporary
export TMPDIR
failures=0

fail() {
	echo "FAIL: $*"
	failures=$((failures + 1))
}

# run STATUS ARGUMENT...: runs the program, output to out and err, and compares its exit status.
run() {
	wanted=$1
	shift
	"$program" "$@" >out 2>err </dev/null
	got=$?
	[ $got -eq "$wanted" ] || { fail "imagecache $*: status $got, not $wanted"; sed 's/^/    /' err; }
}

# figure LABEL COLUMN: a figure of the table; column 1 is the plain dictionary, 2 the weak one.
figure() {
	awk -v label="$1" -v column="$2" 'index($0, label "  ") == 1 { print $(NF - 2 + column); exit }' out
}

# sums: what every table must fulfil.
sums() {
	for column in 1 2; do
		a=$(figure accesses $column) h=$(figure hits $column) d=$(figure decodes $column)
		f=$(figure "failed accesses" $column)
		[ "$((h + d + f))" = "${a:-none}" ] || fail "column $column: $h hits, $d decodes and $f failures of ${a:-no} accesses"
	done
}

# says TEXT: stderr has exactly one line with this text.
says() {
	lines=$(grep -cF -- "$1" err)
	[ "$lines" = 1 ] || { fail "$lines lines on stderr say '$1'"; sed 's/^/    /' err; }
}

# is_png FILE WIDTH HEIGHT
is_png() {
	head=$(od -An -v -tu1 -N24 "$1" 2>/dev/null | tr -s ' \n' ' ')
	wanted=" 137 80 78 71 13 10 26 10 0 0 0 13 73 72 68 82 0 0 $(($2 / 256)) $(($2 % 256)) 0 0 $(($3 / 256)) $(($3 % 256)) "
	[ "$head" = "$wanted" ] || fail "$1 is no PNG file of $2 x $3 pixels"
}

nothing_left() {
	[ -z "$(ls -A "$TMPDIR")" ] || { fail "$1 left in the temporary folder: $(ls "$TMPDIR")"; rm -rf "${TMPDIR:?}"/*; }
}

# ---- command line ----
run 0 --help
grep -q -- '--heap-limit' out || fail "--help does not tell of --heap-limit"
for bad in --nonsense --accesses=0 --accesses=-1 --accesses=12x --window= --skew=nan --count=10000 --draw-only --max-image=0; do
	run 2 "$bad"
	[ -s err ] || fail "$bad: no message"
	[ ! -s out ] || fail "$bad: output on stdout"
done
run 2 one two
run 2 --pictures here there

# ---- folders that cannot be used ----
mkdir empty
: >empty/notes.txt
run 1 empty
says "empty: no PNG file"
run 1 missing
says "missing: No such file"
run 1 empty/notes.txt
says "notes.txt: Not a directory"
run 1 --pictures missing/deeper --count 1
says "missing/deeper: cannot be made"

# ---- pictures of its own, kept; all is well ----
run 0 --pictures pictures --count 72 --draw-only
[ "$(find pictures -name '*.png' | wc -l)" -eq 72 ] || fail "72 pictures were asked for"
run 0 --accesses 800 --window 6 --collect-every 10 --chart chart.png pictures
sums
[ ! -s err ] || { fail "stderr is not empty where it is no terminal"; sed 's/^/    /' err; }
is_png chart.png 1200 720
grep -qx 'chart: chart.png' out || fail "the chart's path is not printed"
[ "$(figure decodes 1)" = 72 ] || fail "the plain dictionary decoded $(figure decodes 1) times, not each of 72 pictures once"
[ "$(figure 'images alive at the end' 1)" = 72 ] || fail "the plain dictionary lost images"
[ "$(figure 'entries purged' 1)" = 0 ] || fail "the plain dictionary's entries were purged"
[ "$(figure 'entries purged' 2)" -gt 0 ] || fail "no entry of the weak-value dictionary was purged"
# An entry lives, or a collection counted it when it went.
[ "$(figure decodes 2)" = $(($(figure 'entries purged' 2) + $(figure 'images alive at the end' 2))) ] ||
	fail "$(figure decodes 2) entries were made, but $(figure 'entries purged' 2) purged and $(figure 'images alive at the end' 2) live"
# The window's six, and what stale words on the stack may keep.
[ "$(figure 'images alive at the end' 2)" -le 12 ] || fail "$(figure 'images alive at the end' 2) images outlived their window of 6"
plain=$(figure "peak resident memory (MiB)" 1) weak=$(figure "peak resident memory (MiB)" 2)
awk -v plain="$plain" -v weak="$weak" 'BEGIN { exit !(weak > 0 && weak < plain / 2) }' ||
	fail "peak of the weak variant $weak MiB, of the plain one $plain MiB: not below half"
cp out first
run 0 --accesses 800 --window 6 --collect-every 10 --chart chart.png pictures
[ "$(figure hits 1)" = "$(awk '$1 == "hits" { print $2 }' first)" ] || fail "the same seed gave another trace"
# A third column: a cache of at most 9 images. Its entries are counted from the right, too.
run 0 --accesses 800 --window 6 --collect-every 10 --cache maximumSize=9 --chart chart.png pictures
built=$(figure "images alive at the end" 2)
[ "$built" = 9 ] || fail "${built:-no} images in a cache of at most 9"
[ "$(($(figure hits 2) + $(figure decodes 2)))" = 800 ] || fail "the cache: hits and decodes are not the accesses"
is_png chart.png 1200 720
run 0 --accesses 80 --cache maximumWeight=3000000 --chart chart.png pictures
run 1 --accesses 80 --cache weakValues,nonsense --chart chart.png pictures
says "nonsense: no such option"
run 1 --accesses 80 --chart missing/chart.png pictures
says "missing/chart.png: the chart cannot be written"

# ---- a bar on a terminal ----
if script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
	script -qec "'$program' --accesses 100 --chart chart.png pictures" /dev/null >terminal 2>&1 </dev/null
	grep -q '100 %' terminal || fail "no progress bar on a terminal"
fi

# ---- bad files among good ones ----
mkdir -p mixed/x.png
good=0
for picture in pictures/picture-000[1-8].png; do
	cp "$picture" mixed/ && good=$((good + 1))
done
cp pictures/picture-0009.png mixed/x.png/inside.PNG
cp pictures/picture-0010.png "mixed/a name
of two lines.png"
size=$(wc -c <pictures/picture-0011.png)
head -c $((size / 2)) pictures/picture-0011.png >mixed/truncated.png
head -c 20 pictures/picture-0011.png >mixed/stub.png
# Four bytes changed: among the pixels, and in the last checksum of the pixels' data (12 bytes of the last chunk follow it).
size=$(wc -c <pictures/picture-0012.png)
cp pictures/picture-0012.png mixed/flipped.png
cp pictures/picture-0012.png mixed/checksum.png
printf '\125\252\125\252' | dd of=mixed/flipped.png bs=1 seek=$((size / 3)) conv=notrunc 2>/dev/null
printf '\125\252\125\252' | dd of=mixed/checksum.png bs=1 seek=$((size - 16)) conv=notrunc 2>/dev/null
head -c 5000 /dev/urandom >mixed/random.png
: >mixed/zero.png
# A header that promises 100000 x 100000 pixels, with a right checksum.
printf '\211\120\116\107\015\012\032\012\000\000\000\015\111\110\104\122\000\001\206\240' >mixed/huge.png
printf '\000\001\206\240\010\006\000\000\000\250\122\013\310' >>mixed/huge.png
printf '\000\000\000\000\111\104\101\124\065\257\006\036' >>mixed/huge.png
ln -s nowhere mixed/dangling.png
ln -s ../pictures mixed/folder.png
mkfifo mixed/pipe.png
bad="truncated stub flipped checksum random zero huge dangling pipe"
if [ "$(id -u)" -ne 0 ]; then
	cp pictures/picture-0013.png mixed/forbidden.png
	chmod 000 mixed/forbidden.png
	bad="$bad forbidden"
fi
# shellcheck disable=SC2086 # one argument for each name
n=$(set -- $bad; echo $#)
run 1 --accesses 200 --window 3 --collect-every 10 --chart chart.png mixed/
for name in $bad; do
	says "mixed/$name.png: "
done
[ "$(wc -l <err)" -eq "$n" ] || { fail "other messages than those of the $n bad files"; sed 's/^/    /' err; }
sums
for column in 1 2; do
	counted=$(figure 'files that failed' $column)
	[ "$counted" = "$n" ] || fail "column $column counts $counted bad files, not $n"
	[ "$(figure 'failed accesses' $column)" -ge "$n" ] || fail "column $column: a bad file was not asked for"
done
[ "$(figure decodes 1)" = $((good + 2)) ] || fail "$(figure decodes 1) of $((good + 2)) good pictures were decoded"
says "huge.png: 100000 x 100000 pixels need more than"
run 1 --accesses 200 --chart chart.png --max-image 1 pictures
grep -q 'need more than the 1 MiB' err || fail "--max-image 1 refused nothing"
sums

# A folder of nothing but bad files still ends in a table.
mkdir hopeless
cp mixed/truncated.png mixed/zero.png "mixed/a name
of two lines.png" hopeless/
cp mixed/random.png "hopeless/bad
name.png"
run 1 --accesses 50 --chart chart.png hopeless
says "hopeless/bad?name.png: "
sums

# ---- a heap with too little room for the plain dictionary ----
run 1 --accesses 800 --window 4 --collect-every 10 --heap-limit 32 --chart chart.png pictures
sums
grep -q 'pictures/picture-[0-9]*\.png: plain dictionary: no room for [0-9]* KiB on the heap' err ||
	fail "no message about the heap's limit"
[ "$(figure 'failed accesses' 1)" -gt 0 ] || fail "the plain dictionary fitted into 32 MiB"
[ "$(figure 'failed accesses' 2)" -lt "$(figure 'failed accesses' 1)" ] ||
	fail "the weak-value dictionary failed as often as the plain one"

# ---- a temporary folder is removed, whatever happens ----
run 0 --count 4 --accesses 50 --chart chart.png
nothing_left "an ordinary run"

# stop_when SIGNAL STATUS FILES ARGUMENT...: sends the signal when there are as many pictures, and waits.
stop_when() {
	signal=$1 wanted=$2 files=$3
	shift 3
	"$program" "$@" >out 2>err </dev/null &
	pid=$!
	tries=0
	until [ "$(find "$TMPDIR" -name '*.png' | wc -l)" -ge "$files" ] || [ $tries -ge 100 ]; do
		sleep 0.05
		tries=$((tries + 1))
	done
	sleep 0.2
	kill -s "$signal" $pid
	wait $pid
	got=$?
	[ $got -eq "$wanted" ] || fail "after $signal: status $got, not $wanted"
	[ ! -s err ] || { fail "after $signal: messages"; sed 's/^/    /' err; }
	nothing_left "a run ended by $signal"
}
stop_when TERM 143 2 --count 9999 --chart chart.png
stop_when HUP 129 6 --count 6 --accesses 5000000 --chart chart.png

[ $failures -eq 0 ] && exit 0
echo "$failures failures"
exit 1
