# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Tests that need a real systemd or root.
#   NAME.int  a libcheck program from tests/system/NAME.c; needs
#             tests_system_NAME_int_LDFLAGS = $(INT_LINKFLAGS)
#             tests_system_NAME_int_LDADD = $(INT_LIBS)
#   NAME.py   a Python unittest module

int_tests +=
py_tests +=

EXTRA_DIST += tests/system/box
