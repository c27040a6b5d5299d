# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The promises of SEMANTICS and of the public header, through the public library.

int_tests += tests/integration/buffers.int
tests_integration_buffers_int_SOURCES = tests/integration/buffers.c
tests_integration_buffers_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_buffers_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/close.int
tests_integration_close_int_SOURCES = tests/integration/close.c
tests_integration_close_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_close_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/connect.int
tests_integration_connect_int_SOURCES = tests/integration/connect.c
tests_integration_connect_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_connect_int_LDADD = $(INT_LIBS)

# It runs them; they belong to every build.
int_tests += tests/integration/examples.int
tests_integration_examples_int_SOURCES = tests/integration/examples.c
tests_integration_examples_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_examples_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/lifecycle.int
tests_integration_lifecycle_int_SOURCES = tests/integration/lifecycle.c
tests_integration_lifecycle_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_lifecycle_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/limits.int
tests_integration_limits_int_SOURCES = tests/integration/limits.c
tests_integration_limits_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_limits_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/loops.int
tests_integration_loops_int_SOURCES = tests/integration/loops.c
tests_integration_loops_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_loops_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/misuse.int
tests_integration_misuse_int_SOURCES = tests/integration/misuse.c
tests_integration_misuse_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_misuse_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/names.int
tests_integration_names_int_SOURCES = tests/integration/names.c
tests_integration_names_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_names_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/operations.int
tests_integration_operations_int_SOURCES = tests/integration/operations.c
tests_integration_operations_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_operations_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/options.int
tests_integration_options_int_SOURCES = tests/integration/options.c
tests_integration_options_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_options_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/receive.int
tests_integration_receive_int_SOURCES = tests/integration/receive.c
tests_integration_receive_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_receive_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/send.int
tests_integration_send_int_SOURCES = tests/integration/send.c
tests_integration_send_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_send_int_LDADD = $(INT_LIBS)

int_tests += tests/integration/threads.int
tests_integration_threads_int_SOURCES = tests/integration/threads.c
tests_integration_threads_int_LDFLAGS = $(INT_LINKFLAGS)
tests_integration_threads_int_LDADD = $(INT_LIBS)

# What uses the library's threads, or shares its objects between processes.
tsan_tests += \
	tests/integration/loops.int \
	tests/integration/threads.int
