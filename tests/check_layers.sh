#!/bin/sh
# SPDX-License-Identifier: MIT
# check_layers: src/LAYERS holds. Every file of src is in one layer, STEM_part.c in that of STEM; a file includes headers of its own layer
# or a lower one; only L1 and L2 include libgc; each stem of LAYERS has a file, and each file is in src/local.mk. Reads the sources only.
set -u
cd "${srcdir:-$(dirname "$0")/..}" || exit 99

bad=$(awk '
	function listed(stem)
	{
		if (!(stem in layer))
			sub(/_.*/, "", stem)
		return stem
	}
	FILENAME == "src/LAYERS" {
		sub(/#.*/, "")
		if (NF == 0)
			next
		if ($1 !~ /^L[0-9]+$/) {
			print FILENAME ":" FNR ": no layer at the start of the line: " $1
			next
		}
		for (i = 2; i <= NF; i++) {
			if ($i in layer)
				print FILENAME ":" FNR ": " $i " stands in two layers"
			layer[$i] = substr($1, 2) + 0
		}
		next
	}
	FNR == 1 {
		stem = FILENAME
		sub(/^src\//, "", stem)
		sub(/\.[ch]$/, "", stem)
		stem = listed(stem)
		seen[stem] = 1
		known = stem in layer
		if (!known)
			print FILENAME ": is in no layer of src/LAYERS"
	}
	!known || !/^[ \t]*#[ \t]*include[ \t]/ {
		next
	}
	{
		name = $0
		sub(/^[ \t]*#[ \t]*include[ \t]*/, "", name)
		quote = substr(name, 1, 1)
		name = substr(name, 2)
		sub(/[">].*/, "", name)
		where = FILENAME ":" FNR ": "
		if (name ~ /^gc(\/|\.h$|_)/ && !(quote == "\"" && name == "gc.h" && "gc" in layer)) {
			if (layer[stem] != 1 && layer[stem] != 2)
				print where "libgc is included in L" layer[stem] "; only L1 and L2 may"
		} else if (name == "weakref/weakref.h") {
			print where "the header for everything is for programs, not for the library"
		} else if (quote == "\"" && name != "config.h" && name !~ /^weakref\//) {
			header = name
			sub(/\.h$/, "", name)
			name = listed(name)
			if (!(name in layer))
				print where header " is in no layer"
			else if (layer[name] > layer[stem])
				print where "L" layer[stem] " includes " header " of L" layer[name]
		}
	}
	END {
		for (stem in layer)
			if (!(stem in seen))
				print "src/LAYERS: lists " stem ", of which src has no file"
	}
' src/LAYERS src/*.c src/*.h)

for file in src/*.c src/*.h; do
	grep -q "^[[:space:]]$file\\([[:space:]]\\|\$\\)" src/local.mk || bad="$bad
$file: is not listed in src/local.mk"
done

[ -z "$bad" ] && exit 0
printf '%s\n' "$bad" | sed '/^$/d'
exit 1
