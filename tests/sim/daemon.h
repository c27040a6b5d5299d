/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_DAEMON_H
#define ASOCK_TESTS_SIM_DAEMON_H

/* The daemon's process: started, turned, stopped (SIGSTOP), ended (SIGTERM), killed (SIGKILL). */
#include <stdbool.h>
#include <stdint.h>

struct worker;

#define DAEMON_SOCKET "/sim/default/asock.sock"
#define DAEMON_CONTROL "/sim/control.sock"

struct daemon_manner {
    uint32_t sockets, ops; /* what a session may have at most; 0: the default */
    uint64_t queued, kernel, shared;
    uint64_t memory; /* of all sessions together */
};

void daemon_start(const struct daemon_manner *manner);
bool daemon_is_running(void);
bool daemon_is_ready(void); /* a turn has something to do */
uint64_t daemon_due(void);
uint64_t daemon_turns(void);
const struct worker *daemon_worker(void); /* to look at */
void daemon_turn(void);
/* As SIGTERM does, to its end. */
void daemon_terminate(void);
void daemon_kill(void);
struct kfile;
/*
 * Another process goes on with what can be carried (daemon/state/). lost is called with the
 * daemon's end of each client whose session ends; listeners stay, with who waits there.
 */
void daemon_restart(const struct daemon_manner *manner, void (*lost)(const struct kfile *end));
/* SIGSTOP, and SIGCONT after so long. Until then it does nothing. */
void daemon_stop(uint32_t ms);
void daemon_continue(void);
bool daemon_is_stopped(void);
/* One session, as the administrator's KILL does it; by number, modulo how many there are. */
void daemon_kill_session(uint32_t number);
void daemon_kill_socket(uint32_t number);

/* What must hold between turns; and when no client is left: nothing is held. */
void daemon_check(void);
bool daemon_is_empty(void);

#endif
