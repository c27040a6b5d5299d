# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Real programs, unchanged, in a sandbox without a network. The long tests run with ./check --long.

long_program_tests = \
	tests/programs/test_programs_long.py

py_tests += \
	tests/programs/test_programs.py \
	tests/programs/test_recipes.py
EXTRA_DIST += \
	$(long_program_tests) \
	tests/programs/programs.py \
	tests/programs/servers.py \
	tests/programs/write-table

.PHONY: program-table check-long-programs
check-long-programs:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(long_program_tests)'
program-table:
	rm -f program-results
	ASOCK_PROGRAMS_RESULTS='$(abs_top_builddir)/program-results' $(MAKE) $(AM_MAKEFLAGS) check \
	    TESTS='tests/programs/test_programs.py $(long_program_tests)'
	$(PYTHON) $(srcdir)/tests/programs/write-table program-results
CLEANFILES += program-results
