# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Tests of the protocol as it is on the wire, and of the Python package: Python unittest modules against
# the built daemon.

py_tests += \
	tests/protocol/test_charged.py \
	tests/protocol/test_datagrams.py \
	tests/protocol/test_datagrams_bound.py \
	tests/protocol/test_datagrams_connecting.py \
	tests/protocol/test_datagrams_control.py \
	tests/protocol/test_datagrams_groups.py \
	tests/protocol/test_datagrams_together.py \
	tests/protocol/test_families.py \
	tests/protocol/test_descriptors.py \
	tests/protocol/test_disconnect.py \
	tests/protocol/test_document.py \
	tests/protocol/test_ending.py \
	tests/protocol/test_fairness.py \
	tests/protocol/test_flow.py \
	tests/protocol/test_gather.py \
	tests/protocol/test_grants.py \
	tests/protocol/test_hangup.py \
	tests/protocol/test_hostile.py \
	tests/protocol/test_items.py \
	tests/protocol/test_kill.py \
	tests/protocol/test_lend.py \
	tests/protocol/test_lend_end.py \
	tests/protocol/test_listener.py \
	tests/protocol/test_linger.py \
	tests/protocol/test_listen.py \
	tests/protocol/test_memory.py \
	tests/protocol/test_memory_locked.py \
	tests/protocol/test_python_aio.py \
	tests/protocol/test_python_blocking.py \
	tests/protocol/test_python_client.py \
	tests/protocol/test_python_datagrams.py \
	tests/protocol/test_quota.py \
	tests/protocol/test_quota_buffers.py \
	tests/protocol/test_reference.py \
	tests/protocol/test_session.py \
	tests/protocol/test_share.py \
	tests/protocol/test_sockets.py \
	tests/protocol/test_stages.py \
	tests/protocol/test_stalled.py
EXTRA_DIST += tests/lib/asockd.py tests/lib/build.py tests/lib/ending.py tests/lib/flow.py tests/lib/hostile.py tests/lib/http_body.py tests/lib/lending.py tests/lib/quotas.py tests/lib/silent_fuse.py tests/lib/suspend.py tests/lib/wire.py
