# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libasockd: all of the daemon but main(), so that tests link the real code.

noinst_LTLIBRARIES += libasockd.la
libasockd_la_CPPFLAGS = $(AM_CPPFLAGS) -DSYSCONFDIR='"$(sysconfdir)"' $(CARES_CFLAGS) \
	$(SECCOMP_CFLAGS) $(SYSTEMD_CFLAGS)
libasockd_la_SOURCES = \
	daemon/accounts.c \
	daemon/accounts.h \
	daemon/address_order.c \
	daemon/address_order.h \
	daemon/admin.c \
	daemon/admin.h \
	daemon/admin_policy.c \
	daemon/admin_policy.h \
	daemon/admin_record.c \
	daemon/admin_record.h \
	daemon/audit.c \
	daemon/audit.h \
	daemon/audit_denials.c \
	daemon/audit_denials.h \
	daemon/audit_entry.c \
	daemon/audit_entry.h \
	daemon/audit_file.c \
	daemon/audit_journal.c \
	daemon/audit_sink.h \
	daemon/backoff.h \
	daemon/complete.c \
	daemon/complete.h \
	daemon/config.c \
	daemon/config.h \
	daemon/config_arguments.c \
	daemon/config_listener.c \
	daemon/config_listener.h \
	daemon/config_reload.c \
	daemon/dispatch.c \
	daemon/dispatch.h \
	daemon/host.c \
	daemon/host.h \
	daemon/inspect.h \
	daemon/limits.h \
	daemon/listener.c \
	daemon/listener.h \
	daemon/listener_open.c \
	daemon/listener_spec.h \
	daemon/loop.c \
	daemon/loop.h \
	daemon/netsock.c \
	daemon/netsock.h \
	daemon/netsock_egress.c \
	daemon/netsock_option.c \
	daemon/notify.c \
	daemon/notify.h \
	daemon/op.c \
	daemon/op.h \
	daemon/op_cancel.c \
	daemon/op_close.c \
	daemon/op_connect.c \
	daemon/op_credit.c \
	daemon/op_hello.c \
	daemon/op_inspect.c \
	daemon/op_kill.c \
	daemon/op_memory.c \
	daemon/op_open.c \
	daemon/op_option.c \
	daemon/op_policy.c \
	daemon/op_receive.c \
	daemon/op_restrict.c \
	daemon/op_send.c \
	daemon/op_shutdown.c \
	daemon/op_sync.c \
	daemon/peer.c \
	daemon/peer.h \
	daemon/peer_proc.c \
	daemon/peer_proc.h \
	daemon/policy.c \
	daemon/policy.h \
	daemon/policy_address.c \
	daemon/policy_address.h \
	daemon/policy_check.c \
	daemon/policy_check.h \
	daemon/policy_file.c \
	daemon/policy_file.h \
	daemon/policy_judge.c \
	daemon/policy_learn.c \
	daemon/policy_learn.h \
	daemon/policy_load.c \
	daemon/policy_match.c \
	daemon/policy_match.h \
	daemon/policy_rule.c \
	daemon/policy_rule.h \
	daemon/policy_settings.c \
	daemon/quota.c \
	daemon/quota.h \
	daemon/race.c \
	daemon/race.h \
	daemon/reload.c \
	daemon/reload.h \
	daemon/resolver.c \
	daemon/resolver.h \
	daemon/sandbox.c \
	daemon/sandbox.h \
	daemon/server.c \
	daemon/server.h \
	daemon/services.c \
	daemon/services.h \
	daemon/session.c \
	daemon/session.h \
	daemon/session_memory.c \
	daemon/session_quota.c \
	daemon/session_reply.c \
	daemon/shared.c \
	daemon/shared.h \
	daemon/sock.c \
	daemon/sock.h \
	daemon/sock_audit.c \
	daemon/sock_audit.h \
	daemon/sock_close.c \
	daemon/sock_kernel.c \
	daemon/sock_policy.c \
	daemon/sock_send.c \
	daemon/sock_send.h \
	daemon/stats.h \
	daemon/transport.c \
	daemon/transport.h \
	daemon/verbs.h

# What a program with the daemon's code in it links, in this order.
DAEMON_LIBS = libasockd.la libproto.la libbase.la \
	$(PROTOBUF_C_LIBS) $(CARES_LIBS) $(SECCOMP_LIBS) $(SYSTEMD_LIBS) $(EV_LIBS) $(PTHREAD_LIBS) -lm

sbin_PROGRAMS += asockd
asockd_SOURCES = daemon/main.c
asockd_CPPFLAGS = $(libasockd_la_CPPFLAGS)
asockd_LDFLAGS = $(WHOLE_LDFLAGS)
asockd_LDADD = $(DAEMON_LIBS)

# The same with what only tests may ask of it by SIGUSR2: to hang, or to break out.
check_PROGRAMS += asockd-hooks
asockd_hooks_SOURCES = daemon/main.c daemon/hooks.c daemon/hooks.h
asockd_hooks_CPPFLAGS = $(libasockd_la_CPPFLAGS) -DASOCKD_TEST_HOOKS
asockd_hooks_LDADD = $(DAEMON_LIBS)
