# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What the public header says, through the public library.

# It runs them; they belong to every build.
int_tests += tests/integration/examples.int
tests_integration_examples_int_SOURCES = tests/integration/examples.c
tests_integration_examples_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_examples_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/detach.int
tests_integration_detach_int_SOURCES = tests/integration/detach.c
tests_integration_detach_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_detach_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/foreign.int
tests_integration_foreign_int_SOURCES = tests/integration/foreign.c
tests_integration_foreign_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_foreign_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/lifecycle.int
tests_integration_lifecycle_int_SOURCES = tests/integration/lifecycle.c
tests_integration_lifecycle_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_lifecycle_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/loops.int
tests_integration_loops_int_SOURCES = tests/integration/loops.c
tests_integration_loops_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_loops_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/misuse.int
tests_integration_misuse_int_SOURCES = tests/integration/misuse.c
tests_integration_misuse_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_misuse_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/random_ops.int
tests_integration_random_ops_int_SOURCES = tests/integration/random_ops.c
tests_integration_random_ops_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_random_ops_int_LDADD = $(INT_LIBS)

# What uses the library's threads, or shares its objects between processes.
tsan_tests += tests/integration/loops.int
