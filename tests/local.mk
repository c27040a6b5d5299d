# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The suites. A test's extension says how it runs, its folder which suite it is in:
#   .unit .int  libcheck programs       (result lines made TAP by tests/lib/run-check)
#   .py         Python unittest modules (made TAP by tests/lib/tap.py)
#   .gate       Python scripts that print TAP themselves
#   .test       other executables that print TAP themselves
# No two tests of a folder may differ in their extension only: they would share a log.

gate_tests = \
	tests/gates/includes.gate \
	tests/gates/symbols.gate \
	tests/gates/hardening.gate \
	tests/gates/lifetimes.gate \
	tests/gates/nss.gate \
	tests/gates/simulator.gate \
	tests/gates/manpages.gate \
	tests/gates/manexamples.gate \
	tests/gates/style.gate \
	tests/gates/documents.gate \
	tests/gates/semantics.gate \
	tests/gates/mutants.gate \
	tests/gates/programs.gate \
	tests/gates/commits.gate \
	tests/gates/selftest.gate
unit_tests =
int_tests =
py_tests =
script_tests =

# What runs under ThreadSanitizer: all that uses the library's threads.
tsan_tests =

# The main() of all C tests.
SUITE_LIBS = libsuite.la $(CHECK_LIBS)
# Unit tests link the real objects of both sides.
LDADD = $(TEST_SUPPORT) libasock-internal.la $(DAEMON_LIBS) $(SUITE_LIBS)
# Everything else sees what a user sees: the shared library.
INT_LINKFLAGS = $(AM_LDFLAGS) -no-install
INT_LIBS = $(TEST_SUPPORT) libasock.la $(SUITE_LIBS)
# tests/lib's C helpers, for both.
TEST_SUPPORT =

include tests/lib/local.mk
include tests/unit/base.mk
include tests/unit/proto.mk
include tests/unit/client-lib.mk
include tests/unit/daemon.mk
include tests/unit/ctl.mk
include tests/integration/local.mk
include tests/conformance/local.mk
include tests/protocol/local.mk
include tests/system/local.mk
include tests/programs/local.mk
include tests/sim/local.mk

# Several run at a time, in this order: the longest come first, so that none of them is left alone at the end.
TESTS += $(script_tests) $(py_tests) $(gate_tests)
if HAVE_CHECK
check_PROGRAMS += $(unit_tests) $(int_tests)
TESTS += $(int_tests) $(unit_tests)
endif
EXTRA_DIST += $(gate_tests) $(py_tests) $(script_tests) \
	tests/allowed-skips \
	tests/gates/gate.py \
	tests/gates/long-files \
	tests/gates/long-functions \
	tests/lib/alone \
	tests/lib/installed \
	tests/lib/items.py \
	tests/lib/mutants.py \
	tests/lib/program_rows.py \
	tests/lib/run-check \
	tests/lib/skip.h \
	tests/lib/tap.py \
	tests/lib/valgrind.supp \
	tests/mutants

TEST_EXTENSIONS = .unit .int .py .gate .test
TAP_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
# A test that hangs is killed and reported, it does not hang the run.
LIMIT = timeout --kill-after=10 $${ASOCK_TEST_TIMEOUT:-600}
ALONE = $(LIMIT) $(top_srcdir)/tests/lib/alone
if HAVE_PYTHON
PY_RUN = $(PYTHON)
else
PY_RUN = sh -c 'echo "1..0 \# SKIP no python3"'
endif
UNIT_LOG_DRIVER = $(TAP_DRIVER)
UNIT_LOG_COMPILER = $(ALONE) $(top_srcdir)/tests/lib/run-check
INT_LOG_DRIVER = $(TAP_DRIVER)
INT_LOG_COMPILER = $(ALONE) $(top_srcdir)/tests/lib/run-check
PY_LOG_DRIVER = $(TAP_DRIVER)
PY_LOG_COMPILER = $(ALONE) $(PY_RUN) $(top_srcdir)/tests/lib/tap.py
GATE_LOG_DRIVER = $(TAP_DRIVER)
GATE_LOG_COMPILER = $(LIMIT) $(PY_RUN)
TEST_LOG_DRIVER = $(TAP_DRIVER)
TEST_LOG_COMPILER = $(LIMIT)

AM_TESTS_ENVIRONMENT = \
	ASOCK_TEST_SRCDIR='$(abs_top_srcdir)'; export ASOCK_TEST_SRCDIR; \
	ASOCK_TEST_BUILDDIR='$(abs_top_builddir)'; export ASOCK_TEST_BUILDDIR; \
	ASOCK_TEST_PYTHON='$(PYTHON)'; export ASOCK_TEST_PYTHON; \
	ASOCK_TEST_SANITIZERS='$(enable_sanitizers)'; export ASOCK_TEST_SANITIZERS; \
	ASOCK_TEST_INSTRUMENTS='$(enable_instruments)'; export ASOCK_TEST_INSTRUMENTS; \
	ASOCK_TEST_SYSTEMD='$(enable_systemd)'; export ASOCK_TEST_SYSTEMD; \
	ASOCK_HAVE_PYTHON_PROTOBUF='$(have_python_protobuf)'; export ASOCK_HAVE_PYTHON_PROTOBUF; \
	PYTHONPATH='$(abs_top_builddir)/python:$(abs_top_srcdir)/python:$(abs_top_srcdir)/tests/lib:$(abs_top_srcdir)/tests/gates'; \
	export PYTHONPATH; \
	PYTHONDONTWRITEBYTECODE=1; export PYTHONDONTWRITEBYTECODE; \
	CK_DEFAULT_TIMEOUT=$${CK_DEFAULT_TIMEOUT:-180}; export CK_DEFAULT_TIMEOUT; \
	UBSAN_OPTIONS=$${UBSAN_OPTIONS:-print_stacktrace=1}; export UBSAN_OPTIONS; \
	TSAN_OPTIONS=$${TSAN_OPTIONS:-die_after_fork=0}; export TSAN_OPTIONS;

# The schema in Python, for tests and examples.
if HAVE_PYTHON_PROTOBUF
noinst_DATA = python/asock_pb2.py
python/asock_pb2.py: $(srcdir)/proto/asock.proto
	$(AM_V_GEN)$(MKDIR_P) $(@D) && \
	$(PROTOC) --proto_path=$(srcdir)/proto --python_out=$(@D) $(srcdir)/proto/asock.proto
endif
CLEANFILES += python/asock_pb2.py

# For ./dev: what tests run beside the programs that are installed, and what they find in their environment.
.PHONY: test-helpers test-environment
test-helpers: asockd-hooks tests/lib/no-peerpidfd tests/lib/no-passrights tests/lib/count-alloc.la tests/lib/count-calls.la tests/lib/move-clock.la tests/unit/policy_probe
test-environment:
	@: $(info $(AM_TESTS_ENVIRONMENT))

# One suite at a time: make check-unit, check-gates, ...
SUITES = check-unit check-gates check-integration check-protocol check-conformance check-system check-programs check-sim
.PHONY: $(SUITES) check-sanitized check-tsan check-valgrind check-fuzz check-items
$(SUITES):
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(filter tests/$(@:check-%=%)/%,$(TESTS))'
check-sanitized:
	$(MAKE) $(AM_MAKEFLAGS) check \
	    TESTS='$(filter tests/unit/% tests/integration/% tests/protocol/% tests/conformance/% tests/sim/% fuzz/%,$(TESTS))'
# One line for each promise of docs/SEMANTICS.md, from the results of the last run.
check-items:
	@$(PYTHON) $(srcdir)/tests/lib/items.py $(srcdir)/docs/SEMANTICS.md $(builddir)
# Builds the programs of these tests alone.
check-tsan:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(tsan_tests)' check_PROGRAMS='asockd-hooks $(tsan_tests)'
# What a process of its own is to the kernel, valgrind's is not.
check-valgrind:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(filter-out tests/unit/test_identity%,$(unit_tests) $(int_tests))'

# What was installed works; and distcheck, which removes its build, hands over its results.
installcheck-local: $(srcdir)/tests/lib/installed
	CC='$(CC)' PKG_CONFIG='$(PKG_CONFIG)' \
	    bash $(srcdir)/tests/lib/installed '$(DESTDIR)' '$(libdir)' '$(bindir)' '$(sbindir)'
	@if test -n "$$ASOCK_RESULTS_DIR"; then \
	    find tests fuzz \( -name '*.trs' -o -name '*.log' \) -exec cp --parents {} "$$ASOCK_RESULTS_DIR" ';'; \
	fi
