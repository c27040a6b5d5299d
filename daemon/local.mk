# SPDX-License-Identifier: LGPL-2.1-or-later
#
# libasockd: all of the daemon but main(), so that tests link the real code.

noinst_LTLIBRARIES += libasockd.la
libasockd_la_CFLAGS = $(ONE_OBJECT_CFLAGS)
libasockd_la_CPPFLAGS = $(AM_CPPFLAGS) -DSYSCONFDIR='"$(sysconfdir)"' -DVENDORDIR='"$(prefix)/lib"' $(CARES_CFLAGS) \
	$(SECCOMP_CFLAGS) $(SYSTEMD_CFLAGS)
libasockd_la_SOURCES = \
	daemon/core/backoff.h \
	daemon/core/capabilities.c \
	daemon/core/capabilities.h \
	daemon/core/client_log.c \
	daemon/core/client_log.h \
	daemon/core/histogram.c \
	daemon/core/histogram.h \
	daemon/core/limits.h \
	daemon/core/loop.c \
	daemon/core/loop.h \
	daemon/core/probes.h \
	daemon/core/quota.c \
	daemon/core/quota.h \
	daemon/core/share.c \
	daemon/core/share.h \
	daemon/core/stamp.c \
	daemon/core/stamp.h \
	daemon/core/stats.h \
	daemon/names/address_order.c \
	daemon/names/address_order.h \
	daemon/names/cache.c \
	daemon/names/cache.h \
	daemon/names/dns.c \
	daemon/names/dns.h \
	daemon/names/file_id.h \
	daemon/names/file_table.c \
	daemon/names/file_table.h \
	daemon/names/host.c \
	daemon/names/host.h \
	daemon/names/hosts.c \
	daemon/names/hosts.h \
	daemon/names/resolv_conf.c \
	daemon/names/resolv_conf.h \
	daemon/names/resolver.c \
	daemon/names/resolver.h \
	daemon/names/services.c \
	daemon/names/services.h \
	daemon/names/userdb.c \
	daemon/names/userdb.h \
	daemon/identity/identity.c \
	daemon/identity/identity.h \
	daemon/identity/identity_proc.c \
	daemon/identity/identity_proc.h \
	daemon/identity/subids.c \
	daemon/identity/subids.h \
	daemon/policy/address.c \
	daemon/policy/address.h \
	daemon/policy/nat64.c \
	daemon/policy/nat64.h \
	daemon/policy/check.c \
	daemon/policy/check.h \
	daemon/policy/file.c \
	daemon/policy/file.h \
	daemon/policy/index.c \
	daemon/policy/index.h \
	daemon/policy/judge.c \
	daemon/policy/judge_ports.c \
	daemon/policy/judge_ports.h \
	daemon/policy/learn.c \
	daemon/policy/learn.h \
	daemon/policy/listen.c \
	daemon/policy/listen.h \
	daemon/policy/load.c \
	daemon/policy/match.c \
	daemon/policy/match.h \
	daemon/policy/overlap.c \
	daemon/policy/overlap.h \
	daemon/policy/policy.c \
	daemon/policy/policy.h \
	daemon/policy/port_tree.c \
	daemon/policy/port_tree.h \
	daemon/policy/ports.c \
	daemon/policy/ports.h \
	daemon/policy/route.c \
	daemon/policy/route.h \
	daemon/policy/rule.c \
	daemon/policy/rule.h \
	daemon/policy/shadow.c \
	daemon/policy/shadow.h \
	daemon/policy/settings.c \
	daemon/policy/show.c \
	daemon/policy/show.h \
	daemon/audit/audit.c \
	daemon/audit/audit.h \
	daemon/audit/denials.c \
	daemon/audit/denials.h \
	daemon/audit/entry.c \
	daemon/audit/entry.h \
	daemon/audit/file.c \
	daemon/audit/journal.c \
	daemon/audit/monitor.c \
	daemon/audit/monitor.h \
	daemon/audit/recent.c \
	daemon/audit/recent.h \
	daemon/audit/record.c \
	daemon/audit/record.h \
	daemon/audit/sink.h \
	daemon/net/egress.c \
	daemon/net/apart.c \
	daemon/net/apart.h \
	daemon/net/hangup.c \
	daemon/net/hangup.h \
	daemon/net/lent.c \
	daemon/net/happy_eyeballs.c \
	daemon/net/happy_eyeballs.h \
	daemon/net/option.c \
	daemon/net/tcp.c \
	daemon/net/udp.c \
	daemon/net/udp.h \
	daemon/net/tcp.h \
	daemon/wire/shm_buffer.c \
	daemon/wire/shm_buffer.h \
	daemon/wire/status_page.c \
	daemon/wire/status_page.h \
	daemon/wire/transport.c \
	daemon/wire/transport.h \
	daemon/session/complete.c \
	daemon/session/complete.h \
	daemon/session/inspect.h \
	daemon/session/dgram.c \
	daemon/session/dgram.h \
	daemon/session/op.c \
	daemon/session/op.h \
	daemon/session/session.c \
	daemon/session/session.h \
	daemon/session/session_audit.c \
	daemon/session/session_audit.h \
	daemon/session/session_monitor.c \
	daemon/session/session_monitor.h \
	daemon/session/session_quota.c \
	daemon/session/session_quota.h \
	daemon/session/session_reply.c \
	daemon/session/session_end.c \
	daemon/session/session_end.h \
	daemon/session/session_farewell.c \
	daemon/session/session_farewell.h \
	daemon/session/session_sockets.c \
	daemon/session/session_sockets.h \
	daemon/session/session_shm_buffer.c \
	daemon/session/session_shm_buffer.h \
	daemon/session/session_sharing.c \
	daemon/session/sharing.h \
	daemon/session/sock.c \
	daemon/session/sock.h \
	daemon/session/sock_audit.c \
	daemon/session/sock_audit.h \
	daemon/session/sock_bound.c \
	daemon/session/sock_bound.h \
	daemon/session/sock_close.c \
	daemon/session/sock_close.h \
	daemon/session/sock_idle.c \
	daemon/session/sock_idle.h \
	daemon/session/sock_kernel.c \
	daemon/session/sock_kernel.h \
	daemon/session/sock_policy.c \
	daemon/session/sock_policy.h \
	daemon/session/sock_lend.c \
	daemon/session/sock_lend.h \
	daemon/session/sock_send.c \
	daemon/session/sock_send.h \
	daemon/verbs/accept.c \
	daemon/verbs/bind.c \
	daemon/verbs/cancel.c \
	daemon/verbs/close.c \
	daemon/verbs/connect.c \
	daemon/verbs/connect.h \
	daemon/verbs/connect_lend.c \
	daemon/verbs/dgram_receive.c \
	daemon/verbs/dgram_send.c \
	daemon/verbs/credit.c \
	daemon/verbs/dispatch.c \
	daemon/verbs/dispatch.h \
	daemon/verbs/hangup.c \
	daemon/verbs/hello.c \
	daemon/verbs/inspect.c \
	daemon/verbs/kill.c \
	daemon/verbs/listen.c \
	daemon/verbs/monitor.c \
	daemon/verbs/open.c \
	daemon/verbs/option.c \
	daemon/verbs/policy.c \
	daemon/verbs/receive.c \
	daemon/verbs/register.c \
	daemon/verbs/resolve.c \
	daemon/verbs/restrict.c \
	daemon/verbs/send.c \
	daemon/verbs/share.c \
	daemon/verbs/shutdown.c \
	daemon/verbs/sync.c \
	daemon/verbs/verbs.h \
	daemon/server/admin.c \
	daemon/server/admin.h \
	daemon/server/admin_denials.c \
	daemon/server/admin_denials.h \
	daemon/server/admin_metrics.c \
	daemon/server/admin_metrics.h \
	daemon/server/admin_policy.c \
	daemon/server/admin_policy.h \
	daemon/server/admin_record.c \
	daemon/server/admin_record.h \
	daemon/server/hardening.c \
	daemon/server/hardening.h \
	daemon/server/listener.c \
	daemon/server/listener.h \
	daemon/server/listener_open.c \
	daemon/server/listener_spec.h \
	daemon/server/loader.c \
	daemon/server/loader.h \
	daemon/server/maker.c \
	daemon/server/maker.h \
	daemon/server/maker_process.c \
	daemon/server/notify.c \
	daemon/server/notify.h \
	daemon/server/question.c \
	daemon/server/question.h \
	daemon/server/reload.c \
	daemon/server/reload.h \
	daemon/server/server.c \
	daemon/server/server.h \
	daemon/server/sharing.c \
	daemon/server/sharing.h \
	daemon/server/verdict.c \
	daemon/server/verdict.h \
	daemon/check.c \
	daemon/check.h \
	daemon/config.c \
	daemon/config.h \
	daemon/config_arguments.c \
	daemon/config_listener.c \
	daemon/config_listener.h \
	daemon/config_reload.c \
	daemon/judge_files.c \
	daemon/judge_files.h

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
asockd_hooks_SOURCES = daemon/main.c tests/lib/hooks.c tests/lib/hooks.h
asockd_hooks_CPPFLAGS = $(libasockd_la_CPPFLAGS) -DASOCKD_TEST_HOOKS='"tests/lib/hooks.h"'
asockd_hooks_LDADD = $(DAEMON_LIBS)
