dnl SPDX-License-Identifier: MIT
dnl Compiler flags in variables of our own. CFLAGS and LDFLAGS are the user's and stay as they were given.

dnl WEAKREF_PROBE_CFLAGS(VARIABLE, FLAGS): substitutes VARIABLE with those of FLAGS that the compiler accepts, each tried alone and with
dnl -Werror, since clang only warns of flags that it does not know.
AC_DEFUN([WEAKREF_PROBE_CFLAGS], [
	AC_LANG_ASSERT([C])
	$1=
	weakref_saved_cflags=$CFLAGS
	for weakref_flag in $2; do
		AS_VAR_PUSHDEF([weakref_cache], [weakref_cv_cflag_$weakref_flag])
		AC_CACHE_CHECK([whether $CC accepts $weakref_flag], [weakref_cache], [
			CFLAGS="$weakref_saved_cflags -Werror $weakref_flag"
			AC_COMPILE_IFELSE([AC_LANG_PROGRAM()], [AS_VAR_SET([weakref_cache], [yes])], [AS_VAR_SET([weakref_cache], [no])])
			CFLAGS=$weakref_saved_cflags])
		AS_VAR_IF([weakref_cache], [yes], [AS_VAR_APPEND([$1], [" $weakref_flag"])])
		AS_VAR_POPDEF([weakref_cache])
	done
	AC_SUBST([$1])
])

dnl WEAKREF_SANITIZERS(LIST): substitutes SANITIZER_CFLAGS, for compiling and linking, and SANITIZER_ENV, shell text that sets what a
dnl program built so needs to run beside a conservative collector: libgc's heap is no leak, and a fake stack hides roots from it.
AC_DEFUN([WEAKREF_SANITIZERS], [
	SANITIZER_CFLAGS=
	SANITIZER_ENV=
	AS_CASE([$1],
		[no], [],
		[yes|''], [AC_MSG_ERROR([--enable-sanitizer needs a list: address, undefined, thread])],
		[
			for weakref_sanitizer in `echo "$1" | tr , ' '`; do
				AS_CASE([$weakref_sanitizer],
					[address|thread], [],
					[undefined], [AS_VAR_APPEND([SANITIZER_CFLAGS], [" -fno-sanitize-recover=undefined"])],
					[AC_MSG_ERROR([--enable-sanitizer: there is no '$weakref_sanitizer' (address, undefined, thread)])])
				AS_VAR_APPEND([SANITIZER_CFLAGS], [" -fsanitize=$weakref_sanitizer"])
			done
			AS_VAR_APPEND([SANITIZER_CFLAGS], [" -fno-omit-frame-pointer"])
			SANITIZER_ENV='ASAN_OPTIONS="$${ASAN_OPTIONS-}:detect_leaks=0:detect_stack_use_after_return=0";'
			AS_VAR_APPEND([SANITIZER_ENV], [' UBSAN_OPTIONS="$${UBSAN_OPTIONS-}:print_stacktrace=1";'])
			AS_VAR_APPEND([SANITIZER_ENV], [' export ASAN_OPTIONS UBSAN_OPTIONS;'])
			weakref_saved_cflags=$CFLAGS
			CFLAGS="$CFLAGS $SANITIZER_CFLAGS"
			AC_MSG_CHECKING([whether $CC builds with$SANITIZER_CFLAGS])
			AC_LINK_IFELSE([AC_LANG_PROGRAM()], [AC_MSG_RESULT([yes])], [
				AC_MSG_RESULT([no])
				AC_MSG_ERROR([--enable-sanitizer=$1: $CC cannot build with these sanitizers])])
			CFLAGS=$weakref_saved_cflags
		])
	AC_SUBST([SANITIZER_CFLAGS])
	AC_SUBST([SANITIZER_ENV])
])
