# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Unit tests of daemon/: NAME.unit is built from tests/unit/NAME.c.

unit_tests += \
	tests/unit/test_faults.unit \
	tests/unit/test_address_order.unit \
	tests/unit/test_audit.unit \
	tests/unit/test_connect_report.unit \
	tests/unit/test_denials.unit \
	tests/unit/test_dgram_verdicts.unit \
	tests/unit/test_kernel_buffers.unit \
	tests/unit/test_loop.unit \
	tests/unit/test_udp.unit \
	tests/unit/test_share.unit \
	tests/unit/test_histogram.unit \
	tests/unit/test_quota.unit \
	tests/unit/test_happy_eyeballs.unit \
	tests/unit/test_recent.unit \
	tests/unit/test_rule_counts.unit \
	tests/unit/test_reload.unit \
	tests/unit/test_list_walk.unit \
	tests/unit/test_emptier.unit \
	tests/unit/test_maker.unit \
	tests/unit/test_config.unit \
	tests/unit/test_cache.unit \
	tests/unit/test_dns.unit \
	tests/unit/test_host.unit \
	tests/unit/test_hosts.unit \
	tests/unit/test_identity.unit \
	tests/unit/test_identity_places.unit \
	tests/unit/test_policy_check.unit \
	tests/unit/test_policy_faults.unit \
	tests/unit/test_policy_dirs.unit \
	tests/unit/test_policy_file.unit \
	tests/unit/test_policy_judge.unit \
	tests/unit/test_policy_listen.unit \
	tests/unit/test_policy_match.unit \
	tests/unit/test_policy_ports.unit \
	tests/unit/test_resolver.unit \
	tests/unit/test_server.unit \
	tests/unit/test_services.unit \
	tests/unit/test_session_farewell.unit \
	tests/unit/test_session_grant.unit \
	tests/unit/test_session_hold.unit \
	tests/unit/test_lent.unit \
	tests/unit/test_receives.unit \
	tests/unit/test_sock.unit \
	tests/unit/test_state.unit \
	tests/unit/test_state_counts.unit \
	tests/unit/test_state_datagrams.unit \
	tests/unit/test_state_faults.unit \
	tests/unit/test_state_moves.unit \
	tests/unit/test_state_refused.unit \
	tests/unit/test_state_refused_4.unit \
	tests/unit/test_session_shm.unit \
	tests/unit/test_session_refused.unit \
	tests/unit/test_session_steps.unit \
	tests/unit/test_connect_steps.unit \
	tests/unit/test_session_idle.unit \
	tests/unit/test_session_time.unit \
	tests/unit/test_subids.unit \
	tests/unit/test_tokens.unit
tests_unit_test_connect_report_unit_SOURCES = tests/unit/test_connect_report.c
tests_unit_test_dgram_verdicts_unit_SOURCES = tests/unit/test_dgram_verdicts.c $(daemon_session_sources)
tests_unit_test_dgram_verdicts_unit_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=policy_judge
tests_unit_test_denials_unit_SOURCES = tests/unit/test_denials.c tests/unit/denied_client.h
tests_unit_test_recent_unit_SOURCES = tests/unit/test_recent.c
tests_unit_test_rule_counts_unit_SOURCES = tests/unit/test_rule_counts.c
tests_unit_test_policy_check_unit_SOURCES = tests/unit/test_policy_check.c
tests_unit_test_config_unit_SOURCES = tests/unit/test_config.c
tests_unit_test_config_unit_CPPFLAGS = $(libasockd_la_CPPFLAGS)
tests_unit_test_host_unit_SOURCES = tests/unit/test_host.c
child_sources = tests/unit/child.c tests/unit/child.h
tests_unit_test_identity_unit_SOURCES = tests/unit/test_identity.c $(child_sources)
tests_unit_test_identity_unit_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=open
tests_unit_test_identity_places_unit_SOURCES = tests/unit/test_identity_places.c $(child_sources)
script_tests += tests/unit/identity_without_peerpidfd.test
resolver_fixture = tests/unit/resolver_fixture.c tests/unit/resolver_fixture.h
tests_unit_test_cache_unit_SOURCES = tests/unit/test_cache.c
tests_unit_test_dns_unit_SOURCES = tests/unit/test_dns.c $(resolver_fixture)
tests_unit_test_hosts_unit_SOURCES = tests/unit/test_hosts.c $(resolver_fixture)
tests_unit_test_resolver_unit_SOURCES = tests/unit/test_resolver.c $(resolver_fixture)
tests_unit_test_server_unit_SOURCES = tests/unit/test_server.c
tests_unit_test_services_unit_SOURCES = tests/unit/test_services.c
tests_unit_test_subids_unit_SOURCES = tests/unit/test_subids.c
tests_unit_test_address_order_unit_SOURCES = tests/unit/test_address_order.c
tests_unit_test_happy_eyeballs_unit_SOURCES = tests/unit/test_happy_eyeballs.c
tests_unit_test_kernel_buffers_unit_SOURCES = tests/unit/test_kernel_buffers.c $(daemon_session_sources)
tests_unit_test_histogram_unit_SOURCES = tests/unit/test_histogram.c
tests_unit_test_share_unit_SOURCES = tests/unit/test_share.c
tests_unit_test_udp_unit_SOURCES = tests/unit/test_udp.c
tests_unit_test_loop_unit_SOURCES = tests/unit/test_loop.c $(daemon_session_sources)
tests_unit_test_quota_unit_SOURCES = tests/unit/test_quota.c

policy_text_sources = tests/unit/policy_text.c tests/unit/policy_text.h
tests_unit_test_policy_dirs_unit_SOURCES = tests/unit/test_policy_dirs.c tests/unit/policy_dir.h $(policy_text_sources)
tests_unit_test_policy_file_unit_SOURCES = tests/unit/test_policy_file.c tests/unit/policy_dir.h $(policy_text_sources)
tests_unit_test_policy_listen_unit_SOURCES = tests/unit/test_policy_listen.c $(policy_text_sources)
tests_unit_test_policy_match_unit_SOURCES = tests/unit/test_policy_match.c $(policy_text_sources)
tests_unit_test_policy_ports_unit_SOURCES = tests/unit/test_policy_ports.c $(policy_text_sources)
tests_unit_test_policy_judge_unit_SOURCES = tests/unit/test_policy_judge.c $(policy_text_sources)

# Asked by tests in Python.
check_PROGRAMS += tests/unit/policy_bench tests/unit/policy_probe
tests_unit_policy_bench_SOURCES = tests/unit/policy_bench.c $(policy_text_sources)
tests_unit_policy_bench_LDADD = $(DAEMON_LIBS)
tests_unit_policy_probe_SOURCES = tests/unit/policy_probe.c $(policy_text_sources)
tests_unit_policy_probe_LDADD = $(DAEMON_LIBS)
py_tests += tests/unit/test_policy_reference.py
EXTRA_DIST += tests/lib/policy_reference.py

# The core in the test's own process.
daemon_session_sources = tests/unit/daemon_session.c tests/unit/daemon_session.h
tests_unit_test_tokens_unit_SOURCES = tests/unit/test_tokens.c
tests_unit_test_emptier_unit_SOURCES = tests/unit/test_emptier.c $(daemon_session_sources)
tests_unit_test_maker_unit_SOURCES = tests/unit/test_maker.c $(daemon_session_sources)
tests_unit_test_list_walk_unit_SOURCES = tests/unit/test_list_walk.c $(daemon_session_sources)
tests_unit_test_session_farewell_unit_SOURCES = tests/unit/test_session_farewell.c $(daemon_session_sources)
tests_unit_test_session_grant_unit_SOURCES = tests/unit/test_session_grant.c $(daemon_session_sources)
tests_unit_test_session_hold_unit_SOURCES = tests/unit/test_session_hold.c $(daemon_session_sources)
tests_unit_test_session_shm_unit_SOURCES = tests/unit/test_session_shm.c \
	$(daemon_session_sources)
tests_unit_test_session_shm_unit_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=connect
tests_unit_test_audit_unit_SOURCES = tests/unit/test_audit.c tests/unit/denied_client.h $(daemon_session_sources)
tests_unit_test_connect_steps_unit_SOURCES = tests/unit/test_connect_steps.c $(daemon_session_sources)
tests_unit_test_session_refused_unit_SOURCES = tests/unit/test_session_refused.c $(daemon_session_sources)
tests_unit_test_session_steps_unit_SOURCES = tests/unit/test_session_steps.c $(daemon_session_sources)
tests_unit_test_session_idle_unit_SOURCES = tests/unit/test_session_idle.c $(daemon_session_sources) $(policy_text_sources)
tests_unit_test_session_time_unit_SOURCES = tests/unit/test_session_time.c $(daemon_session_sources)

tests_unit_test_lent_unit_SOURCES = tests/unit/test_lent.c
tests_unit_test_receives_unit_SOURCES = tests/unit/test_receives.c $(daemon_session_sources)
tests_unit_test_receives_unit_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=recv -Wl,--wrap=recvmsg
tests_unit_test_sock_unit_SOURCES = tests/unit/test_sock.c $(daemon_session_sources)
tests_unit_test_sock_unit_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=recv -Wl,--wrap=shutdown

state_parts = tests/unit/state_parts.c tests/unit/state_parts.h $(daemon_session_sources)
tests_unit_test_state_unit_SOURCES = tests/unit/test_state.c $(state_parts)
tests_unit_test_state_counts_unit_SOURCES = tests/unit/test_state_counts.c tests/unit/denied_client.h $(state_parts)
tests_unit_test_state_datagrams_unit_SOURCES = tests/unit/test_state_datagrams.c $(state_parts)
tests_unit_test_state_moves_unit_SOURCES = tests/unit/test_state_moves.c $(state_parts)
tests_unit_test_state_refused_unit_SOURCES = tests/unit/test_state_refused.c $(state_parts)
tests_unit_test_state_refused_4_unit_SOURCES = tests/unit/test_state_refused_4.c $(state_parts)
EXTRA_DIST += tests/unit/state-format-1 tests/unit/state-format-2 tests/unit/state-format-3 \
	tests/unit/state-format-4 tests/unit/state-format-5

# Daemon and library in one program, whose calls can be made to fail one by one.
tests_unit_test_faults_unit_SOURCES = tests/unit/test_faults.c tests/unit/fault.c tests/unit/fault.h
fault_ldflags = \
	-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free,--wrap=socket,--wrap=connect \
	-Wl,--wrap=send,--wrap=sendmsg,--wrap=recv,--wrap=recvmsg \
	-Wl,--wrap=setsockopt,--wrap=getsockopt,--wrap=getsockname,--wrap=getpeername,--wrap=shutdown \
	-Wl,--wrap=memfd_create,--wrap=ftruncate,--wrap=fallocate,--wrap=madvise,--wrap=mmap,--wrap=poll
tests_unit_test_faults_unit_LDFLAGS = $(AM_LDFLAGS) $(fault_ldflags)
tests_unit_test_reload_unit_SOURCES = tests/unit/test_reload.c tests/unit/fault.c tests/unit/fault.h \
	$(daemon_session_sources)
tests_unit_test_reload_unit_CPPFLAGS = $(libasockd_la_CPPFLAGS)
tests_unit_test_reload_unit_LDFLAGS = $(AM_LDFLAGS) $(fault_ldflags)
tests_unit_test_state_faults_unit_SOURCES = tests/unit/test_state_faults.c tests/unit/fault.c tests/unit/fault.h \
	$(state_parts)
tests_unit_test_state_faults_unit_LDFLAGS = $(AM_LDFLAGS) $(fault_ldflags)
tests_unit_test_policy_faults_unit_SOURCES = tests/unit/test_policy_faults.c tests/unit/fault.c \
	tests/unit/fault.h $(policy_text_sources)
tests_unit_test_policy_faults_unit_LDFLAGS = $(AM_LDFLAGS) $(fault_ldflags)

