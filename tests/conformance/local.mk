# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The same program over a kernel socket and over asockd.
#   NAME.int  a libcheck program from tests/conformance/NAME.c; needs
#             tests_conformance_NAME_int_LDFLAGS = $(INT_LINKFLAGS)
#             tests_conformance_NAME_int_LDADD = $(INT_LIBS)
#   NAME.py   a Python unittest module

int_tests +=
py_tests +=
