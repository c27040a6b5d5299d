/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_MAIN_H
#define ASOCK_TESTS_SIM_MAIN_H

#include <stdint.h>

/* The current run has failed: reports it to the driver, and ends the process. */
void main_failed(const char *text) __attribute__((noreturn));
/* For a message of a crash: where the program stands. */
void main_at_step(uint32_t step);

#endif
