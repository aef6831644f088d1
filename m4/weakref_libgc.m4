dnl SPDX-License-Identifier: MIT
dnl WEAKREF_LIBGC(MINIMUM): substitutes BDW_GC_CFLAGS and BDW_GC_LIBS, or stops with the one reason why this libgc will not do.
dnl The link test stands beside the version because a libgc that was built without threads has the same version and header.
AC_DEFUN([WEAKREF_LIBGC], [
	PKG_CHECK_MODULES([BDW_GC], [bdw-gc >= $1], [], [
		weakref_gc_found=`$PKG_CONFIG --modversion bdw-gc 2>/dev/null`
		AS_IF([test -n "$weakref_gc_found"],
			[AC_MSG_ERROR([libgc $weakref_gc_found is too old: libweakref needs $1 or newer])],
			[AC_MSG_ERROR([libgc (the Boehm collector) was not found: install libgc-dev])])])

	weakref_saved_cflags=$CFLAGS
	weakref_saved_libs=$LIBS
	CFLAGS="$CFLAGS $BDW_GC_CFLAGS -pthread"
	LIBS="$BDW_GC_LIBS $LIBS"

	AC_MSG_CHECKING([whether programs can be linked with libgc])
	AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <gc/gc.h>]], [[return (int)GC_get_version();]])], [AC_MSG_RESULT([yes])], [
		AC_MSG_RESULT([no])
		AC_MSG_ERROR([libgc cannot be linked with $BDW_GC_LIBS (see config.log)])])

	AC_MSG_CHECKING([whether libgc supports threads])
	AC_LINK_IFELSE([AC_LANG_PROGRAM([[
			#define GC_THREADS
			#include <gc/gc.h>
		]], [[
			struct GC_stack_base base;
			GC_allow_register_threads();
			return GC_get_stack_base(&base) + GC_register_my_thread(&base);
		]])], [AC_MSG_RESULT([yes])], [
		AC_MSG_RESULT([no])
		AC_MSG_ERROR([this libgc was built without thread support (--enable-threads=posix)])])

	AC_MSG_CHECKING([whether libgc has events and kinds])
	AC_LINK_IFELSE([AC_LANG_PROGRAM([[
			#define GC_THREADS
			#include <gc/gc.h>
			#include <gc/gc_mark.h>
		]], [[
			GC_set_on_collection_event(GC_get_on_collection_event());
			return (int)GC_new_kind(GC_new_free_list(), 0, 1, 1);
		]])], [AC_MSG_RESULT([yes])], [
		AC_MSG_RESULT([no])
		AC_MSG_ERROR([this libgc lacks GC_get_on_collection_event or GC_new_kind: libweakref needs $1 or newer])])

	CFLAGS=$weakref_saved_cflags
	LIBS=$weakref_saved_libs
])
