# SPDX-License-Identifier: MIT
# The documentation: all of it is distributed and installed.

dist_doc_DATA += \
	doc/cache-policy.md \
	doc/design.md \
	doc/imagecache.md \
	doc/performance.md \
	doc/release.md \
	doc/semantics.md
