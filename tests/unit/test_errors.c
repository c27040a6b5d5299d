/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec.h"
#include "proto/errors.h"
#include "tests/lib/suite.h"
#include "proto/frame.h"

#include <asock/asock.h>
#include <ctype.h>
#include <errno.h>
#include <protobuf-c/protobuf-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The same numbers stand in asock.proto, in proto/ and in asock.h: here they are held together. */

extern const ProtobufCEnumDescriptor asock__v1__error__descriptor;
extern const ProtobufCEnumDescriptor asock__v1__verb__descriptor;
extern const ProtobufCEnumDescriptor asock__v1__option__descriptor;
extern const ProtobufCEnumDescriptor asock__v1__how__descriptor;
extern const ProtobufCEnumDescriptor asock__v1__family__descriptor;
extern const ProtobufCEnumDescriptor asock__v1__kind__descriptor;
extern const ProtobufCEnumDescriptor asock__v1__event_code__descriptor;
extern const ProtobufCEnumDescriptor asock__v1__request_flag__descriptor;
extern const ProtobufCEnumDescriptor asock__v1__receive_flag__descriptor;
extern const ProtobufCEnumDescriptor asock__v1__reply_flag__descriptor;

struct number {
    const char *name;
    int value;
};

#define N(prefix, name)                                                                            \
    {                                                                                              \
#prefix #name, prefix##name                                                                \
    }

static const struct {
    const char *name, *dotnet, *text;
    unsigned int wire;
    int number;
} table[] = {
#define X(wire, name, dotnet, number, text) {#name, dotnet, text, wire, number},
    ASOCK_ERRORS(X)
#undef X
};
#define ERRORS (sizeof(table) / sizeof(table[0]))

START_TEST(test_errors_are_the_protos)
{
    const ProtobufCEnumDescriptor *proto = &asock__v1__error__descriptor;
    const ProtobufCEnumValue *value;
    char name[64];
    size_t i;

    ck_assert_uint_eq(proto->n_values, ERRORS);
    ck_assert_uint_eq(ERR_COUNT, ERRORS);
    for (i = 0; i < ERRORS; i++) {
        snprintf(name, sizeof(name), "ERROR_%s", table[i].name);
        value = protobuf_c_enum_descriptor_get_value_by_name(proto, name);
        ck_assert_msg(value != NULL, "%s", name);
        ck_assert_uint_eq((unsigned int)value->value, table[i].wire);
    }
}
END_TEST

START_TEST(test_errors_are_unique)
{
    size_t i, k;

    for (i = 0; i < ERRORS; i++) {
        ck_assert_uint_eq(table[i].wire, i);
        for (k = 0; k < i; k++) {
            ck_assert_int_ne(table[i].number, table[k].number);
            ck_assert_str_ne(table[i].dotnet, table[k].dotnet);
            ck_assert_str_ne(table[i].text, table[k].text);
        }
    }
}
END_TEST

/* "ConnectionRefused" is CONNECTION_REFUSED; SocketError has one name that says more than ours. */
START_TEST(test_names_are_alike)
{
    char flat[64];
    const char *p;
    size_t i, n;

    for (i = 0; i < ERRORS; i++) {
        for (n = 0, p = table[i].name; *p; p++) {
            if (*p != '_')
                flat[n++] = *p;
        }
        flat[n] = '\0';
        if (table[i].wire == ERR_NO_BUFFER_SPACE)
            strcpy(flat, "NoBufferSpaceAvailable");
        ck_assert_int_eq(strcasecmp(flat, table[i].dotnet), 0);
        ck_assert(isupper((unsigned char)table[i].dotnet[0]));
        ck_assert_str_eq(asock_error_to_name(table[i].wire), table[i].dotnet);
        ck_assert_str_eq(asock_error_to_text(table[i].wire), table[i].text);
        ck_assert_int_eq(asock_error_to_errno(table[i].wire), table[i].number);
    }
}
END_TEST

/*
 * Every errno has an error, in both signs; and an error's errno leads back, or to no particular
 * one.
 */
START_TEST(test_errno_is_total)
{
    enum asock_wire_error error;
    size_t i;
    int number;

    ck_assert_int_eq(asock_error_from_errno(0), ERR_SUCCESS);
    for (number = 1; number < 4096; number++) {
        error = asock_error_from_errno(number);
        ck_assert_int_gt(error, ERR_SUCCESS);
        ck_assert_int_lt(error, ERR_COUNT);
        ck_assert_int_eq(asock_error_from_errno(-number), error);
    }
    for (i = 0; i < ERRORS; i++) {
        error = asock_error_from_errno(table[i].number);
        ck_assert_msg(error == table[i].wire || error == ERR_SOCKET_ERROR, "%s", table[i].name);
    }
    ck_assert_int_eq(asock_error_from_errno(ECONNREFUSED), ERR_CONNECTION_REFUSED);
    ck_assert_int_eq(asock_error_from_errno(ENOMEM), ERR_NO_BUFFER_SPACE);
    ck_assert_int_eq(asock_error_from_errno(EPERM), ERR_ACCESS_DENIED);
}
END_TEST

START_TEST(test_unknown_numbers)
{
    static const unsigned int numbers[] = {ERR_COUNT, 1000, UINT32_MAX};
    size_t i;

    for (i = 0; i < 3; i++) {
        ck_assert_int_eq(asock_error_to_errno(numbers[i]), EIO);
        ck_assert_str_eq(asock_error_to_name(numbers[i]), "Unknown");
        ck_assert_str_eq(asock_error_to_text(numbers[i]), "unknown error");
    }
}
END_TEST

/* The public header, by number and by order. */
START_TEST(test_public_header)
{
#define X(wire, name, dotnet, number, text) ck_assert_int_eq((int)ASOCK_##name, (int)ERR_##name);
    ASOCK_ERRORS(X)
#undef X
#define SAME(name) ck_assert_int_eq((int)ASOCK_OPTION_##name, (int)OPTION_##name)
    SAME(NO_DELAY);
    SAME(KEEP_ALIVE);
    SAME(KEEP_ALIVE_TIME);
    SAME(KEEP_ALIVE_INTERVAL);
    SAME(KEEP_ALIVE_COUNT);
    SAME(SEND_BUFFER);
    SAME(RECEIVE_BUFFER);
    SAME(HOP_LIMIT);
    SAME(TRAFFIC_CLASS);
    SAME(REUSE_ADDRESS);
    SAME(USER_TIMEOUT);
    SAME(LINGER);
#undef SAME
    ck_assert_int_eq((int)ASOCK_SHUTDOWN_RECEIVE, (int)HOW_RECEIVE);
    ck_assert_int_eq((int)ASOCK_SHUTDOWN_SEND, (int)HOW_SEND);
    ck_assert_int_eq((int)ASOCK_SHUTDOWN_BOTH, (int)HOW_BOTH);
}
END_TEST

/*
 * As many names on both sides, each with the same number. unset: the proto's value 0 has no name
 * here.
 */
static void same_numbers(const ProtobufCEnumDescriptor *proto, const struct number *numbers,
                         size_t count)
{
    const ProtobufCEnumValue *value;
    size_t i;

    ck_assert_uint_eq(proto->n_value_names, count + 1);
    for (i = 0; i < count; i++) {
        value = protobuf_c_enum_descriptor_get_value_by_name(proto, numbers[i].name);
        ck_assert_msg(value != NULL, "%s", numbers[i].name);
        ck_assert_msg(value->value == numbers[i].value, "%s", numbers[i].name);
    }
}
#define SAME_NUMBERS(proto, numbers)                                                               \
    same_numbers(&asock__v1__##proto##__descriptor, numbers, sizeof(numbers) / sizeof(numbers[0]))

START_TEST(test_verbs_and_options_are_the_protos)
{
    static const struct number verbs[] = {
        N(VERB_, HELLO),      N(VERB_, OPEN),       N(VERB_, CONNECT), N(VERB_, SEND),
        N(VERB_, RECEIVE),    N(VERB_, CLOSE),      N(VERB_, CANCEL),  N(VERB_, SHUTDOWN),
        N(VERB_, SET_OPTION), N(VERB_, SYNC),       N(VERB_, LIST),    N(VERB_, GET_OPTION),
        N(VERB_, SHOW),       N(VERB_, STATS),      N(VERB_, KILL),    N(VERB_, RESTRICT),
        N(VERB_, REGISTER),   N(VERB_, UNREGISTER), N(VERB_, RELOAD),  N(VERB_, JUDGE),
        N(VERB_, LEARNED),    N(VERB_, CREDIT),     N(VERB_, RESOLVE), N(VERB_, SHARE),
        N(VERB_, HANGUP),     N(VERB_, SESSIONS),   N(VERB_, DENIALS), N(VERB_, BIND),
        N(VERB_, MONITOR),    N(VERB_, LISTENER),   N(VERB_, LISTEN),  N(VERB_, ACCEPT),
        N(VERB_, TAKE_OVER),  N(VERB_, DISCONNECT),
    };
    static const struct number options[] = {
        N(OPTION_, NO_DELAY),         N(OPTION_, KEEP_ALIVE),
        N(OPTION_, KEEP_ALIVE_TIME),  N(OPTION_, KEEP_ALIVE_INTERVAL),
        N(OPTION_, KEEP_ALIVE_COUNT), N(OPTION_, SEND_BUFFER),
        N(OPTION_, RECEIVE_BUFFER),   N(OPTION_, HOP_LIMIT),
        N(OPTION_, TRAFFIC_CLASS),    N(OPTION_, REUSE_ADDRESS),
        N(OPTION_, USER_TIMEOUT),     N(OPTION_, LINGER),
        N(OPTION_, LOCAL_ENDPOINT),   N(OPTION_, REMOTE_ENDPOINT),
        N(OPTION_, TCP_INFO),         N(OPTION_, DUAL_MODE),
        N(OPTION_, COALESCE),         N(OPTION_, AVAILABLE),
        N(OPTION_, BROADCAST),        N(OPTION_, MULTICAST_HOPS),
        N(OPTION_, MULTICAST_LOOP),   N(OPTION_, MULTICAST_INTERFACE),
        N(OPTION_, JOIN_GROUP),       N(OPTION_, LEAVE_GROUP),
    };

    SAME_NUMBERS(verb, verbs);
    SAME_NUMBERS(option, options);
}
END_TEST

START_TEST(test_small_enums_are_the_protos)
{
    static const struct number hows[] = {N(HOW_, RECEIVE), N(HOW_, SEND), N(HOW_, BOTH)};
    static const struct number families[] = {N(FAMILY_, INET), N(FAMILY_, INET6)};
    static const struct number kinds[] = {N(KIND_, WELCOME), N(KIND_, COMPLETION), N(KIND_, EVENT)};
    static const struct number events[] = {N(EVENT_, SEND_ROOM), N(EVENT_, SESSION_ENDED),
                                           N(EVENT_, KILLED)};
    static const struct number request_flags[] = {
        {"REQUEST_FLAG_ERRORS_ONLY", REQUEST_ERRORS_ONLY}};
    static const struct number receive_flags[] = {{"RECEIVE_FLAG_PEEK", RECEIVE_PEEK},
                                                  {"RECEIVE_FLAG_WAIT_ALL", RECEIVE_WAIT_ALL},
                                                  {"RECEIVE_FLAG_MULTISHOT", RECEIVE_MULTISHOT}};
    static const struct number reply_flags[] = {{"REPLY_FLAG_MORE", REPLY_MORE},
                                                {"REPLY_FLAG_END_OF_STREAM", REPLY_END_OF_STREAM},
                                                {"REPLY_FLAG_FOUND", REPLY_FOUND},
                                                {"REPLY_FLAG_TRUNCATED", REPLY_TRUNCATED}};

    SAME_NUMBERS(how, hows);
    SAME_NUMBERS(family, families);
    SAME_NUMBERS(kind, kinds);
    SAME_NUMBERS(event_code, events);
    SAME_NUMBERS(request_flag, request_flags);
    SAME_NUMBERS(receive_flag, receive_flags);
    SAME_NUMBERS(reply_flag, reply_flags);
}
END_TEST
