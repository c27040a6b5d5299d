/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The companion of the asynchronous client: sends back what comes, for any number of connections at
 * a time. Everything happens in callbacks (echo.h), in the library's dispatcher thread; main only
 * waits.
 *
 * Usage: async_echo_server ADDRESS PORT [CONNECTIONS]. With port 0 the kernel chooses one; the
 * program says which. The policy has to allow it: Listen=tcp ADDRESS PORT. Exit status: 0, 1 when
 * anything failed, 2 for misuse.
 */
#include <asock/asock.h>

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "examples/echo.h"

static void finished(struct echo *echo)
{
    sem_post(echo->userdata);
}

int main(int argc, char **argv)
{
    struct echo echo = {.status = 1, .finished = finished};
    sem_t done;

    if (argc < 3 || argc > 4) {
        fprintf(stderr, "Usage: %s ADDRESS PORT [CONNECTIONS]\n", argv[0]);
        return 2;
    }
    echo.left = argc > 3 ? (unsigned int)atoi(argv[3]) : ~0u;
    echo.userdata = &done;
    sem_init(&done, 0, 0);
    if (asock_context_new(NULL, &echo.context) < 0) {
        perror("asockd");
        return 1;
    }
    asock_context_set_always_pending(echo.context, true);
    if (echo_listen(echo.context, argv[1], argv[2], &echo.listener) == 0 &&
        asock_context_start_dispatcher(echo.context) == 0) {
        echo.status = 0;
        if (echo_start(&echo) == 0)
            while (sem_wait(&done) < 0)
                ; /* a signal */
    }
    asock_context_stop_dispatcher(echo.context);
    asock_op_unref(echo.accept);
    asock_socket_unref(echo.listener);
    asock_context_unref(echo.context);
    sem_destroy(&done);
    return echo.status;
}
