# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The simulator: daemon and library in one thread over a simulated kernel (CONTRIBUTING.md, "The
# simulator"). libev is not linked, nor is what seams.c replaces; the system calls of tests/sim/wrapped
# go to calls*.c.

check_PROGRAMS += tests/sim/run
tests_sim_run_SOURCES = \
	tests/sim/alloc.c \
	tests/sim/asks.c \
	tests/sim/bound.c \
	tests/sim/bound.h \
	tests/sim/calls.c \
	tests/sim/calls.h \
	tests/sim/calls_files.c \
	tests/sim/calls_udp.c \
	tests/sim/connections.c \
	tests/sim/connections.h \
	tests/sim/counts.c \
	tests/sim/counts.h \
	tests/sim/daemon.c \
	tests/sim/daemon.h \
	tests/sim/datagrams.c \
	tests/sim/disconnect.c \
	tests/sim/emptier.c \
	tests/sim/epoll.c \
	tests/sim/epoll.h \
	tests/sim/ev.c \
	tests/sim/ev.h \
	tests/sim/generate.c \
	tests/sim/generate_added.c \
	tests/sim/generate_listeners.c \
	tests/sim/groups.c \
	tests/sim/groups.h \
	tests/sim/held.c \
	tests/sim/held.h \
	tests/sim/helpers.c \
	tests/sim/idle.c \
	tests/sim/idle.h \
	tests/sim/inbound.c \
	tests/sim/inbound.h \
	tests/sim/kernel.c \
	tests/sim/kernel.h \
	tests/sim/lent.c \
	tests/sim/lent.h \
	tests/sim/listeners.c \
	tests/sim/listeners.h \
	tests/sim/main.c \
	tests/sim/main.h \
	tests/sim/maker.c \
	tests/sim/memory.c \
	tests/sim/minimise.c \
	tests/sim/minimise.h \
	tests/sim/model.c \
	tests/sim/model.h \
	tests/sim/objects.c \
	tests/sim/ops.c \
	tests/sim/oracle.c \
	tests/sim/policies.c \
	tests/sim/policies.h \
	tests/sim/program.c \
	tests/sim/program.h \
	tests/sim/raw.c \
	tests/sim/raw.h \
	tests/sim/raw_state.h \
	tests/sim/raw_steps.c \
	tests/sim/real.h \
	tests/sim/relay.c \
	tests/sim/relay.h \
	tests/sim/seams.c \
	tests/sim/seams.h \
	tests/sim/sim.c \
	tests/sim/sim.h \
	tests/sim/starved.c \
	tests/sim/starved.h \
	tests/sim/steps.c \
	tests/sim/steps.h \
	tests/sim/tcp.c \
	tests/sim/udp.c \
	tests/sim/udp.h \
	tests/sim/unix.c \
	tests/sim/watch.c \
	tests/sim/watch.h \
	tests/sim/world.c \
	tests/sim/world.h
tests_sim_run_LDADD = libgateway.la libasock-internal.la libasockd.la libproto.la libbase.la \
	$(PROTOBUF_C_LIBS) $(SYSTEMD_LIBS) $(PTHREAD_LIBS) -lm
tests_sim_run_LDFLAGS = $(AM_LDFLAGS) -no-install \
	$(shell sed '/^\#/d;s/^/-Wl,--wrap=/' $(top_srcdir)/tests/sim/wrapped)

# Programs that found something once, minimised.
sim_found = \
	tests/sim/found/peer-slow-with-much.sim \
	tests/sim/found/answer-without-room.sim \
	tests/sim/found/accept-while-daemons-change.sim \
	tests/sim/found/send-behind-a-long-callback.sim \
	tests/sim/found/connect-that-arrives-slowly.sim \
	tests/sim/found/callback-that-takes-long-in-the-end.sim \
	tests/sim/found/send-behind-receives-of-a-small-grant.sim \
	tests/sim/found/end-of-a-lost-attempt.sim \
	tests/sim/found/writes-behind-a-farewell.sim \
	tests/sim/found/idle-time-over-restarts.sim \
	tests/sim/found/bind-behind-a-disconnect.sim \
	tests/sim/found/receive-behind-a-disconnect.sim \
	tests/sim/found/second-disconnect-of-a-cut-stream.sim \
	tests/sim/found/reference-without-memory.sim \
	tests/sim/found/receives-before-a-connect.sim \
	tests/sim/found/accept-that-waits-at-a-disconnect.sim \
	tests/sim/found/watched-since-a-restart.sim \
	tests/sim/found/end-behind-a-late-connect.sim \
	tests/sim/found/socket-of-the-last-callback.sim \
	tests/sim/found/datagram-whose-time-is-over.sim \
	tests/sim/found/datagrams-of-the-last-callback.sim \
	tests/sim/found/end-before-a-lost-slice.sim \
	tests/sim/found/datagram-without-a-block.sim \
	tests/sim/found/relay-of-a-daemon-that-hangs.sim \
	tests/sim/found/refused-behind-a-shutdown.sim \
	tests/sim/found/sessions-of-another-daemon.sim \
	tests/sim/found/idle-of-another-daemon.sim \
	tests/sim/found/cancel-that-leaves-at-last.sim \
	tests/sim/found/sends-where-it-was-unbound.sim \
	tests/sim/found/connect-that-fits-with-no-share.sim \
	tests/sim/found/killed-bound-at-a-restart.sim \
	tests/sim/found/second-slice-behind-a-loss.sim \
	tests/sim/found/piece-of-a-small-queue.sim \
	tests/sim/found/large-send-without-a-block.sim \
	tests/sim/found/connect-that-fits-alone.sim \
	tests/sim/found/last-frame-without-room.sim \
	tests/sim/found/refused-receive-is-no-gap.sim \
	tests/sim/found/old-pool-is-no-gap.sim \
	tests/sim/found/slow-peer-of-much.sim \
	tests/sim/found/asked-in-the-last-callback.sim \
	tests/sim/found/hole-in-a-relay.sim \
	tests/sim/found/idle-since-a-late-turn.sim \
	tests/sim/found/reset-without-memory.sim \
	tests/sim/found/late-for-two-ops.sim \
	tests/sim/found/id-of-a-refused-socket.sim \
	tests/sim/found/end-after-a-hang.sim \
	tests/sim/found/slice-of-an-earlier-life.sim \
	tests/sim/found/program-stopped-in-a-request.sim \
	tests/sim/found/close-without-a-connect.sim \
	tests/sim/found/shutdown-behind-a-connect-with-data.sim \
	tests/sim/found/refusal-that-is-cut.sim \
	tests/sim/found/hangup-that-nobody-ends.sim \
	tests/sim/found/end-before-a-callback.sim \
	tests/sim/found/share-without-memory.sim \
	tests/sim/found/text-without-memory.sim \
	tests/sim/found/judge-without-memory.sim \
	tests/sim/found/killed-session-is-detached.sim \
	tests/sim/found/aborted-send-all-sends-nothing.sim \
	tests/sim/found/daemon-that-counts-late.sim \
	tests/sim/found/received-in-pieces-into-a-buffer.sim \
	tests/sim/found/close-of-a-refused-socket.sim \
	tests/sim/found/quiet-send-behind-a-failed-shutdown.sim \
	tests/sim/found/question-without-memory.sim \
	tests/sim/found/zeros-for-a-slow-program.sim

script_tests += tests/sim/sim.test
EXTRA_DIST += \
	tests/sim/known \
	tests/sim/mutants \
	$(sim_found) \
	tests/sim/wrapped
