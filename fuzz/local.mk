# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Fuzz targets, fuzz/fuzz_NAME.c. Each is built twice from the same source: NAME.test replays the
# kept corpus in every "make check"; fuzz_NAME, with --enable-fuzzers (clang), looks for more, and
# campaign.test runs them all for a while,
# and coverage.test says how much the kept corpus reaches.

fuzz_replays = \
	fuzz/client.test \
	fuzz/codec.test \
	fuzz/conf.test \
	fuzz/config.test \
	fuzz/dns.test \
	fuzz/frame.test \
	fuzz/host.test \
	fuzz/policy.test \
	fuzz/proxy.test \
	fuzz/session.test \
	fuzz/state.test

check_PROGRAMS += $(fuzz_replays)
TESTS += $(fuzz_replays)

FUZZ_REPLAY = fuzz/replay.c fuzz/fuzz.h

fuzz_client_sources = fuzz/fuzz_client.c fuzz/client_shm.c fuzz/client_play.h fuzz/descriptors.h
fuzz_client_test_SOURCES = $(fuzz_client_sources) $(FUZZ_REPLAY)
fuzz_client_test_LDADD = libasock-internal.la libproto.la libbase.la $(PROTOBUF_C_LIBS) $(PTHREAD_LIBS)
fuzz_codec_test_SOURCES = fuzz/fuzz_codec.c $(FUZZ_REPLAY)
fuzz_codec_test_LDADD = libproto.la libbase.la $(PROTOBUF_C_LIBS)
fuzz_conf_test_SOURCES = fuzz/fuzz_conf.c $(FUZZ_REPLAY)
fuzz_conf_test_LDADD = libbase.la
fuzz_config_test_SOURCES = fuzz/fuzz_config.c $(FUZZ_REPLAY)
fuzz_config_test_LDADD = $(DAEMON_LIBS)
fuzz_dns_test_SOURCES = fuzz/fuzz_dns.c $(FUZZ_REPLAY)
fuzz_dns_test_LDADD = libgateway.la
fuzz_frame_test_SOURCES = fuzz/fuzz_frame.c $(FUZZ_REPLAY)
fuzz_frame_test_LDADD = libproto.la libbase.la
fuzz_host_test_SOURCES = fuzz/fuzz_host.c $(FUZZ_REPLAY)
fuzz_host_test_LDADD = $(DAEMON_LIBS)
fuzz_policy_sources = fuzz/fuzz_policy.c $(policy_text_sources)
fuzz_policy_test_SOURCES = $(fuzz_policy_sources) $(FUZZ_REPLAY)
fuzz_policy_test_LDADD = $(DAEMON_LIBS)
fuzz_proxy_test_SOURCES = fuzz/fuzz_proxy.c $(FUZZ_REPLAY)
fuzz_proxy_test_LDADD = libgateway.la libbase.la
fuzz_session_sources = fuzz/fuzz_session.c fuzz/session_core.c fuzz/session_core.h fuzz/session_shm.c
fuzz_session_test_SOURCES = $(fuzz_session_sources) $(FUZZ_REPLAY)
fuzz_session_test_LDADD = $(DAEMON_LIBS)
fuzz_state_test_SOURCES = fuzz/fuzz_state.c $(FUZZ_REPLAY)
fuzz_state_test_LDADD = $(DAEMON_LIBS)

if ENABLE_FUZZERS
fuzzers = \
	fuzz/fuzz_client \
	fuzz/fuzz_codec \
	fuzz/fuzz_conf \
	fuzz/fuzz_config \
	fuzz/fuzz_dns \
	fuzz/fuzz_frame \
	fuzz/fuzz_host \
	fuzz/fuzz_policy \
	fuzz/fuzz_proxy \
	fuzz/fuzz_session \
	fuzz/fuzz_state
noinst_PROGRAMS += $(fuzzers)
TESTS += fuzz/coverage.test fuzz/campaign.test
FUZZ_LINKFLAGS = $(AM_LDFLAGS) $(FUZZ_LDFLAGS)

fuzz_fuzz_client_SOURCES = $(fuzz_client_sources) fuzz/fuzz.h
fuzz_fuzz_client_LDADD = $(fuzz_client_test_LDADD)
fuzz_fuzz_client_LDFLAGS = $(FUZZ_LINKFLAGS)
fuzz_fuzz_codec_SOURCES = fuzz/fuzz_codec.c fuzz/fuzz.h
fuzz_fuzz_codec_LDADD = $(fuzz_codec_test_LDADD)
fuzz_fuzz_codec_LDFLAGS = $(FUZZ_LINKFLAGS)
fuzz_fuzz_conf_SOURCES = fuzz/fuzz_conf.c fuzz/fuzz.h
fuzz_fuzz_conf_LDADD = $(fuzz_conf_test_LDADD)
fuzz_fuzz_conf_LDFLAGS = $(FUZZ_LINKFLAGS)
fuzz_fuzz_config_SOURCES = fuzz/fuzz_config.c fuzz/fuzz.h
fuzz_fuzz_config_LDADD = $(fuzz_config_test_LDADD)
fuzz_fuzz_config_LDFLAGS = $(FUZZ_LINKFLAGS)
fuzz_fuzz_dns_SOURCES = fuzz/fuzz_dns.c fuzz/fuzz.h
fuzz_fuzz_dns_LDADD = $(fuzz_dns_test_LDADD)
fuzz_fuzz_dns_LDFLAGS = $(FUZZ_LINKFLAGS)
fuzz_fuzz_frame_SOURCES = fuzz/fuzz_frame.c fuzz/fuzz.h
fuzz_fuzz_frame_LDADD = $(fuzz_frame_test_LDADD)
fuzz_fuzz_frame_LDFLAGS = $(FUZZ_LINKFLAGS)
fuzz_fuzz_host_SOURCES = fuzz/fuzz_host.c fuzz/fuzz.h
fuzz_fuzz_host_LDADD = $(fuzz_host_test_LDADD)
fuzz_fuzz_host_LDFLAGS = $(FUZZ_LINKFLAGS)
fuzz_fuzz_policy_SOURCES = $(fuzz_policy_sources) fuzz/fuzz.h
fuzz_fuzz_policy_LDADD = $(fuzz_policy_test_LDADD)
fuzz_fuzz_policy_LDFLAGS = $(FUZZ_LINKFLAGS)
fuzz_fuzz_proxy_SOURCES = fuzz/fuzz_proxy.c fuzz/fuzz.h
fuzz_fuzz_proxy_LDADD = $(fuzz_proxy_test_LDADD)
fuzz_fuzz_proxy_LDFLAGS = $(FUZZ_LINKFLAGS)
fuzz_fuzz_session_SOURCES = $(fuzz_session_sources) fuzz/fuzz.h
fuzz_fuzz_session_LDADD = $(fuzz_session_test_LDADD)
fuzz_fuzz_session_LDFLAGS = $(FUZZ_LINKFLAGS)
fuzz_fuzz_state_SOURCES = fuzz/fuzz_state.c fuzz/fuzz.h
fuzz_fuzz_state_LDADD = $(fuzz_state_test_LDADD)
fuzz_fuzz_state_LDFLAGS = $(FUZZ_LINKFLAGS)

endif

check-fuzz: $(fuzzers)
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(filter fuzz/%,$(TESTS))'

EXTRA_DIST += \
	fuzz/README.md \
	fuzz/campaign.test \
	fuzz/coverage.test \
	fuzz/corpus
