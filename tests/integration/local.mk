# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Tests of the built daemon, library and tool.
#   NAME.int  a libcheck program from tests/integration/NAME.c; needs
#             tests_integration_NAME_int_LDFLAGS = $(INT_LINKFLAGS)
#             tests_integration_NAME_int_LDADD = $(INT_LIBS)
#   NAME.py   a Python unittest module

int_tests +=
include tests/integration/library.mk

# asockd
py_tests += \
	tests/integration/test_audit.py \
	tests/integration/test_audit_file.py \
	tests/integration/test_fd_store.py \
	tests/integration/test_hardening.py \
	tests/integration/test_identity.py \
	tests/integration/test_inspection.py \
	tests/integration/test_lend.py \
	tests/integration/test_lending.py \
	tests/integration/test_listeners.py \
	tests/integration/test_probes.py \
	tests/integration/test_reload.py \
	tests/integration/test_reload_policy.py \
	tests/integration/test_server.py \
	tests/integration/test_service_manager.py \
	tests/integration/test_shared_memory.py \
	tests/integration/test_subordinate.py \
	tests/integration/test_take_over.py \
	tests/integration/test_take_over_datagrams.py \
	tests/integration/test_take_over_left.py \
	tests/integration/test_take_over_lent.py \
	tests/integration/test_take_over_failing.py \
	tests/integration/test_take_over_pending.py \
	tests/integration/test_take_over_sharing.py

# asockctl
py_tests += \
	tests/integration/test_ctl_args.py \
	tests/integration/test_confine.py \
	tests/integration/test_ctl_connect.py \
	tests/integration/test_ctl_connect_bulk.py \
	tests/integration/test_ctl_denied.py \
	tests/integration/test_ctl_json.py \
	tests/integration/test_ctl_kill.py \
	tests/integration/test_ctl_list.py \
	tests/integration/test_ctl_listener.py \
	tests/integration/test_ctl_metrics.py \
	tests/integration/test_ctl_monitor.py \
	tests/integration/test_ctl_names.py \
	tests/integration/test_ctl_policy.py \
	tests/integration/test_ctl_policy_files.py \
	tests/integration/test_ctl_rows.py \
	tests/integration/test_ctl_run.py \
	tests/integration/test_ctl_share.py \
	tests/integration/test_ctl_top.py \
	tests/integration/test_dashboard.py \
	tests/integration/test_python_wheel.py \
	tests/integration/test_proxy.py \
	tests/integration/test_proxy_abuse.py \
	tests/integration/test_proxy_http.py \
	tests/integration/test_proxy_run.py \
	tests/integration/test_quic.py \
	tests/integration/test_proxy_udp.py \
	tests/integration/test_proxy_users.py \
	tests/integration/test_transparent.py \
	tests/integration/test_transparent_hidden.py \
	tests/integration/test_transparent_datagrams.py \
	tests/integration/test_transparent_kinds.py \
	tests/integration/test_transparent_life.py \
	tests/integration/test_transparent_published.py
EXTRA_DIST += \
	tests/lib/asockctl.py \
	tests/lib/audited.py \
	tests/lib/bystanders.py \
	tests/lib/connecting.py \
	tests/lib/fake_asockd.py \
	tests/lib/journal.py \
	tests/lib/managed.py \
	tests/lib/openmetrics.py \
	tests/lib/proxy.py \
	tests/lib/reloading.py \
	tests/lib/taking_over.py \
	tests/lib/schema.py \
	tests/lib/screen.py \
	tests/lib/server_program.py \
	tests/lib/talking.py \
	tests/lib/terminal.py \
	tests/lib/transparent.py

# README.md
py_tests += tests/integration/test_readme.py

# bench/, and what is measured by its client
py_tests += \
	tests/integration/test_bench.py \
	tests/integration/test_keeper.py \
	tests/integration/test_steady_state.py \
	tests/integration/test_syscalls.py
