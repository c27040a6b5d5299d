# SPDX-License-Identifier: LGPL-2.1-or-later
#
# ASOCK_ARG_DIR(NAME, WHAT, PKG-CONFIG MODULE, VARIABLE, FALLBACK)
#
# Adds --with-NAME=DIR and substitutes NAME. Without the option, an installation
# into /usr asks pkg-config; any other prefix keeps to itself, so that
# `make install` as a user, and distcheck, never write outside of it.
AC_DEFUN([ASOCK_ARG_DIR], [
    AC_ARG_WITH([$1],
        [AS_HELP_STRING([--with-$1=DIR], [directory for $2])],
        [$1=$withval], [$1=])
    AS_IF([test -z "$[]$1" && test "x$prefix" = x/usr],
        [$1=$($PKG_CONFIG --variable=$4 $3 2>/dev/null)])
    AS_IF([test -z "$[]$1"], [$1=$5])
    AC_SUBST([$1])
])
