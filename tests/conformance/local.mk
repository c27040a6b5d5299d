# SPDX-License-Identifier: LGPL-2.1-or-later
#
# What docs/SEMANTICS.md promises, through the library against a real daemon. Each test carries the name
# of its item: test_s25_...
#   NAME.int  a libcheck program from tests/conformance/NAME.c; needs
#             tests_conformance_NAME_int_LDFLAGS = $(INT_LINKFLAGS)
#             tests_conformance_NAME_int_LDADD = $(INT_LIBS)
#   NAME.py   a Python unittest module

int_tests += tests/conformance/begin_end.int
tests_conformance_begin_end_int_SOURCES = tests/conformance/begin_end.c
tests_conformance_begin_end_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_begin_end_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/bounce.int
tests_conformance_bounce_int_SOURCES = tests/conformance/bounce.c
tests_conformance_bounce_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_bounce_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/buffers.int
tests_conformance_buffers_int_SOURCES = tests/conformance/buffers.c
tests_conformance_buffers_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_buffers_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/close.int
tests_conformance_close_int_SOURCES = tests/conformance/close.c
tests_conformance_close_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_close_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/connect.int
tests_conformance_connect_int_SOURCES = tests/conformance/connect.c
tests_conformance_connect_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_connect_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/connect_data.int
tests_conformance_connect_data_int_SOURCES = tests/conformance/connect_data.c
tests_conformance_connect_data_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_connect_data_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/disconnect.int
tests_conformance_disconnect_int_SOURCES = tests/conformance/disconnect.c
tests_conformance_disconnect_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_disconnect_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/few_descriptors.int
tests_conformance_few_descriptors_int_SOURCES = tests/conformance/few_descriptors.c
tests_conformance_few_descriptors_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_few_descriptors_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/listen.int
tests_conformance_listen_int_SOURCES = tests/conformance/listen.c
tests_conformance_listen_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_listen_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/datagrams.int
tests_conformance_datagrams_int_SOURCES = tests/conformance/datagrams.c
tests_conformance_datagrams_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_datagrams_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/files.int
tests_conformance_files_int_SOURCES = tests/conformance/files.c
tests_conformance_files_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_files_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/hangup.int
tests_conformance_hangup_int_SOURCES = tests/conformance/hangup.c
tests_conformance_hangup_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_hangup_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/hanging.int
tests_conformance_hanging_int_SOURCES = tests/conformance/hanging.c
tests_conformance_hanging_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_hanging_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/limits.int
tests_conformance_limits_int_SOURCES = tests/conformance/limits.c
tests_conformance_limits_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_limits_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/loss.int
tests_conformance_loss_int_SOURCES = tests/conformance/loss.c
tests_conformance_loss_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_loss_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/multishot.int
tests_conformance_multishot_int_SOURCES = tests/conformance/multishot.c
tests_conformance_multishot_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_multishot_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/multishot_callback.int
tests_conformance_multishot_callback_int_SOURCES = tests/conformance/multishot_callback.c
tests_conformance_multishot_callback_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_multishot_callback_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/names.int
tests_conformance_names_int_SOURCES = tests/conformance/names.c
tests_conformance_names_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_names_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/operations.int
tests_conformance_operations_int_SOURCES = tests/conformance/operations.c
tests_conformance_operations_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_operations_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/options.int
tests_conformance_options_int_SOURCES = tests/conformance/options.c
tests_conformance_options_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_options_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/peers.int
tests_conformance_peers_int_SOURCES = tests/conformance/peers.c
tests_conformance_peers_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_peers_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/policy.int
tests_conformance_policy_int_SOURCES = tests/conformance/policy.c
tests_conformance_policy_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_policy_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/races.int
tests_conformance_races_int_SOURCES = tests/conformance/races.c
tests_conformance_races_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_races_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/receive.int
tests_conformance_receive_int_SOURCES = tests/conformance/receive.c
tests_conformance_receive_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_receive_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/restrict.int
tests_conformance_restrict_int_SOURCES = tests/conformance/restrict.c
tests_conformance_restrict_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_restrict_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/send.int
tests_conformance_send_int_SOURCES = tests/conformance/send.c
tests_conformance_send_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_send_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/lend.int
tests_conformance_lend_int_SOURCES = tests/conformance/lend.c
tests_conformance_lend_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_lend_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/share.int
tests_conformance_share_int_SOURCES = tests/conformance/share.c
tests_conformance_share_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_share_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/shm.int
tests_conformance_shm_int_SOURCES = tests/conformance/shm.c
tests_conformance_shm_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_shm_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/shm_buffer.int
tests_conformance_shm_buffer_int_SOURCES = tests/conformance/shm_buffer.c
tests_conformance_shm_buffer_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_shm_buffer_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/shm_threads.int
tests_conformance_shm_threads_int_SOURCES = tests/conformance/shm_threads.c
tests_conformance_shm_threads_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_shm_threads_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/silent.int
tests_conformance_silent_int_SOURCES = tests/conformance/silent.c
tests_conformance_silent_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_silent_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/taken_back.int
tests_conformance_taken_back_int_SOURCES = tests/conformance/taken_back.c
tests_conformance_taken_back_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_taken_back_int_LDADD = $(INT_LIBS)

int_tests += tests/conformance/threads.int
tests_conformance_threads_int_SOURCES = tests/conformance/threads.c
tests_conformance_threads_int_LDFLAGS = $(INT_LINKFLAGS)
tests_conformance_threads_int_LDADD = $(INT_LIBS)

# In a network of the test's own.
py_tests += \
	tests/conformance/test_connect_report.py \
	tests/conformance/test_listen_policy.py \
	tests/conformance/test_packets.py \
	tests/conformance/test_policy.py \
	tests/conformance/test_resolve.py \
	tests/conformance/test_resolving.py \
	tests/conformance/test_restrict.py
EXTRA_DIST += tests/lib/nameserver.py tests/lib/network.py tests/lib/policies.py

# What uses the library's threads.
tsan_tests += \
	tests/conformance/races.int \
	tests/conformance/shm_threads.int \
	tests/conformance/threads.int
