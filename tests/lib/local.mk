# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What tests share: a private daemon, peers. C helpers go into a check library:
#check_LTLIBRARIES += libtestlib.la
#libtestlib_la_SOURCES = tests/lib/NAME.c
#TEST_SUPPORT += libtestlib.la
