/* Every call of the library, right and wrong, against the test's daemon: each CHECK that does not hold ends the program. */
#include <mlos.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what)                                                                                    \
    do {                                                                                               \
        if (!(what)) {                                                                                 \
            fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #what, mlos_last_error());          \
            exit(1);                                                                                   \
        }                                                                                              \
    } while (0)
#define FAILS(status, call, words)                                                                     \
    do {                                                                                               \
        CHECK((call) == (status));                                                                     \
        CHECK(strstr(mlos_last_error(), words) != NULL);                                               \
    } while (0)

/* As in src/abi.rs. */
_Static_assert(sizeof(mlos_options) == 48 && offsetof(mlos_options, slots) == 40, "mlos_options");
_Static_assert(sizeof(mlos_tensor_info) == 88 && offsetof(mlos_tensor_info, dims) == 24, "mlos_tensor_info");
_Static_assert(sizeof(mlos_tensor) == 96 && offsetof(mlos_tensor, dims) == 32, "mlos_tensor");
_Static_assert(sizeof(mlos_terms) == 24 && offsetof(mlos_terms, deadline_us) == 16, "mlos_terms");
_Static_assert(sizeof(mlos_timing) == 40 && offsetof(mlos_timing, parts) == 32, "mlos_timing");

static mlos_request *bound(mlos_client *client, const char *name)
{
    mlos_model *model = NULL;
    mlos_request *request = NULL;
    CHECK(mlos_open(client, name, NULL, &model) == MLOS_OK);
    CHECK(mlos_request_new(model, &request) == MLOS_OK);
    CHECK(mlos_request_bind(request) == MLOS_OK);
    mlos_model_free(model);
    return request;
}

static float *data(mlos_request *request, int direction)
{
    mlos_tensor tensor = {.size = sizeof tensor};
    CHECK(mlos_request_tensor(request, direction, 0, &tensor) == MLOS_OK);
    CHECK(tensor.dtype == MLOS_F32 && tensor.rank == 2 && tensor.dims[0] == 1 && tensor.dims[1] == 4);
    CHECK(tensor.bytes == 16 && (uintptr_t)tensor.data % 64 == 0);
    return tensor.data;
}

static void models(mlos_client *client)
{
    mlos_model *model = NULL;
    mlos_tensor_info info = {.size = sizeof info};
    struct { size_t size; const char *name; } old = {.size = sizeof old};
    FAILS(MLOS_NOT_FOUND, mlos_open(client, "t/none", NULL, &model), "there is no model t/none");
    CHECK(model == NULL);
    CHECK(mlos_open(client, "t/double", NULL, &model) == MLOS_OK);
    CHECK(strcmp(mlos_model_id(model), "t/double") == 0 && strcmp(mlos_model_version(model), "1") == 0);
    CHECK(mlos_model_count(model, MLOS_INPUT) == 1 && mlos_model_count(model, MLOS_OUTPUT) == 1);
    CHECK(mlos_model_count(model, 7) == 0 && mlos_model_count(NULL, 0) == 0);
    CHECK(mlos_model_tensor(model, MLOS_INPUT, 0, &info) == MLOS_OK);
    CHECK(strcmp(info.name, "x") == 0 && info.dtype == MLOS_F32 && info.rank == 2);
    CHECK(info.dims[0] == -1 && info.dims[1] == 4 && info.size == sizeof info);
    FAILS(MLOS_INVALID_ARGUMENT, mlos_model_tensor(model, MLOS_INPUT, 1, &info), "there is no tensor 1");
    FAILS(MLOS_INVALID_ARGUMENT, mlos_model_tensor(model, 2, 0, &info), "direction is 2");
    info.size = 0;
    FAILS(MLOS_INVALID_ARGUMENT, mlos_model_tensor(model, MLOS_INPUT, 0, &info), "info->size is 0");
    /* A program that was compiled when the struct was shorter. */
    CHECK(mlos_model_tensor(model, MLOS_OUTPUT, 0, (mlos_tensor_info *)&old) == MLOS_OK);
    CHECK(strcmp(old.name, "y") == 0 && old.size == sizeof old);
    mlos_model_free(model);
}

static void mistakes(mlos_client *client)
{
    mlos_model *model = NULL;
    mlos_request *request = NULL;
    mlos_tensor tensor = {.size = sizeof tensor};
    mlos_terms terms = MLOS_TERMS_INIT;
    const uint64_t dims[2] = {1, 5};
    CHECK(mlos_open(client, "t/double", NULL, &model) == MLOS_OK);
    CHECK(mlos_request_new(model, &request) == MLOS_OK);
    FAILS(MLOS_CONFLICT, mlos_infer(request, NULL, NULL), "not bound yet");
    FAILS(MLOS_INVALID_ARGUMENT, mlos_request_dims(request, "x", dims, 9), "rank is 9");
    FAILS(MLOS_INVALID_ARGUMENT, mlos_request_dims(request, "x", NULL, 2), "dims is NULL");
    CHECK(mlos_request_dims(request, "x", dims, 2) == MLOS_OK);
    FAILS(MLOS_INVALID_ARGUMENT, mlos_request_bind(request), "which [1, 5] is not");
    mlos_request_free(request);
    CHECK(mlos_request_new(model, &request) == MLOS_OK);
    CHECK(mlos_request_without(request, "y") == MLOS_OK && mlos_request_rows(request, 1) == MLOS_OK);
    CHECK(mlos_request_bind(request) == MLOS_OK);
    FAILS(MLOS_CONFLICT, mlos_request_rows(request, 2), "bound already");
    FAILS(MLOS_NOT_FOUND, mlos_request_tensor(request, MLOS_OUTPUT, 0, &tensor), "left out");
    FAILS(MLOS_CONFLICT, mlos_wait(request, -1, NULL), "not in flight");
    terms.job_class = 5;
    FAILS(MLOS_INVALID_ARGUMENT, mlos_infer(request, &terms, NULL), "there is no class 5");
    mlos_request_free(request);
    mlos_model_free(model);
    FAILS(MLOS_INVALID_ARGUMENT, mlos_infer(NULL, NULL, NULL), "request is NULL");
    FAILS(MLOS_INVALID_ARGUMENT, mlos_open(client, NULL, NULL, &model), "model is NULL");
    FAILS(MLOS_INVALID_ARGUMENT, mlos_open(client, "\xff", NULL, &model), "model is not UTF-8");
    FAILS(MLOS_INVALID_ARGUMENT, mlos_open(client, "t/double", NULL, NULL), "opened is NULL");
    mlos_request_free(NULL);
    mlos_model_free(NULL);
    mlos_client_free(NULL);
}

static void runs(mlos_client *client)
{
    mlos_request *request = bound(client, "t/double");
    float *x = data(request, MLOS_INPUT), *y = data(request, MLOS_OUTPUT);
    mlos_terms terms = MLOS_TERMS_INIT;
    mlos_timing timing = MLOS_TIMING_INIT;
    terms.job_class = MLOS_REALTIME;
    terms.deadline_us = 2000;
    terms.on_miss = MLOS_DEGRADE;
    for (int round = 0; round < 100; round++) {
        x[2] = (float)round;
        CHECK(mlos_infer(request, &terms, &timing) == MLOS_OK);
        CHECK(y[2] == 2 * (float)round);
        CHECK(timing.job_class == MLOS_REALTIME && timing.queue_ns == 2000 && timing.preemptions == 1);
        CHECK(data(request, MLOS_OUTPUT) == y);
    }
    mlos_request_free(request);
    request = bound(client, "t/fail");
    FAILS(MLOS_MODEL_FAILED, mlos_infer(request, NULL, NULL), "the model is on strike");
    mlos_request_free(request);
}

static void flights(mlos_client *client)
{
    mlos_request *all[3] = {bound(client, "t/hold"), bound(client, "t/hold"), bound(client, "t/double")};
    size_t first = 99;
    for (int i = 0; i < 3; i++) {
        data(all[i], MLOS_INPUT)[0] = (float)i;
        CHECK(mlos_submit(all[i], NULL) == MLOS_OK);
    }
    FAILS(MLOS_CONFLICT, mlos_submit(all[0], NULL), "in flight");
    CHECK(mlos_wait_any(client, all, 3, &first) == MLOS_OK && first == 2);
    CHECK(mlos_wait(all[2], -1, NULL) == MLOS_OK && data(all[2], MLOS_OUTPUT)[0] == 4);
    CHECK(mlos_cancel(all[0]) == MLOS_OK);
    FAILS(MLOS_CANCELLED, mlos_wait(all[0], -1, NULL), "cancelled, as you asked");
    mlos_request *release = bound(client, "t/release");
    CHECK(mlos_infer(release, NULL, NULL) == MLOS_OK);
    CHECK(mlos_wait(all[1], 1000, NULL) == MLOS_OK && data(all[1], MLOS_OUTPUT)[0] == 2);
    for (int i = 0; i < 3; i++)
        mlos_request_free(all[i]);
    mlos_request_free(release);
    FAILS(MLOS_INVALID_ARGUMENT, mlos_wait_any(client, NULL, 0, &first), "no requests");
}

static void event_loop(mlos_client *client)
{
    mlos_request *request = bound(client, "t/double");
    for (int round = 0; round < 100; round++) {
        int is_done = 0, fd = -1;
        data(request, MLOS_INPUT)[3] = (float)round;
        CHECK(mlos_submit(request, NULL) == MLOS_OK);
        CHECK(mlos_client_fd(client, &fd) == MLOS_OK);
        for (;;) {
            struct pollfd watched = {.fd = fd, .events = POLLIN};
            CHECK(mlos_poll(request, &is_done) == MLOS_OK);
            if (is_done)
                break;
            CHECK(poll(&watched, 1, 10000) == 1);
            CHECK(mlos_client_on_readable(client) == MLOS_OK);
        }
        CHECK(mlos_wait(request, -1, NULL) == MLOS_OK && data(request, MLOS_OUTPUT)[3] == 2 * (float)round);
    }
    mlos_request_free(request);
}

static void strings(mlos_client *client)
{
    mlos_model *model = NULL;
    mlos_request *request = NULL;
    const char *given[2] = {"one", "a\0b"}, *got = NULL;
    const size_t lengths[2] = {3, 3};
    size_t length = 0;
    CHECK(mlos_open(client, "t/text", NULL, &model) == MLOS_OK);
    CHECK(mlos_request_new(model, &request) == MLOS_OK);
    CHECK(mlos_request_rows(request, 2) == MLOS_OK && mlos_request_capacity(request, "x", 64) == MLOS_OK);
    CHECK(mlos_request_bind(request) == MLOS_OK);
    CHECK(mlos_request_set_strings(request, "x", given, lengths, 2) == MLOS_OK);
    CHECK(mlos_infer(request, NULL, NULL) == MLOS_OK);
    CHECK(mlos_request_string(request, "y", 0, &got, &length) == MLOS_OK);
    CHECK(length == 3 && memcmp(got, "a\0b", 3) == 0);
    CHECK(mlos_request_set_strings(request, "x", given, NULL, 2) == MLOS_OK);
    CHECK(mlos_infer(request, NULL, NULL) == MLOS_OK);
    CHECK(mlos_request_string(request, "y", 0, &got, &length) == MLOS_OK && length == 1);
    FAILS(MLOS_INVALID_ARGUMENT, mlos_request_string(request, "y", 2, &got, &length), "no element 2");
    FAILS(MLOS_INVALID_ARGUMENT, mlos_request_set_strings(request, "x", given, NULL, 1), "2 elements, not 1");
    mlos_request_free(request);
    mlos_model_free(model);
}

static void end(mlos_client *client)
{
    mlos_request *request = bound(client, "t/farewell");
    FAILS(MLOS_UNAVAILABLE, mlos_infer(request, NULL, NULL), "you asked for it");
    CHECK(mlos_reconnect(client) == MLOS_OK);
    FAILS(MLOS_UNAVAILABLE, mlos_infer(request, NULL, NULL), "has ended");
    mlos_request_free(request);
    request = bound(client, "t/double");
    /* In any order. */
    mlos_client_free(client);
    CHECK(mlos_infer(request, NULL, NULL) == MLOS_OK);
    mlos_request_free(request);
}

int main(int argc, char **argv)
{
    mlos_client *client = NULL;
    mlos_options options = MLOS_OPTIONS_INIT;
    CHECK(argc == 2);
    CHECK(mlos_interface_version() == MLOS_INTERFACE_VERSION);
    CHECK(strcmp(mlos_status_name(MLOS_NOT_FOUND), "not_found") == 0);
    CHECK(strcmp(mlos_status_name(99), "unknown") == 0 && mlos_last_error()[0] == 0);
    FAILS(MLOS_UNAVAILABLE, mlos_connect("/nonexistent", NULL, &client), "/nonexistent");
    options.name = "unwanted";
    FAILS(MLOS_UNSUPPORTED, mlos_connect(argv[1], &options, &client), "not served");
    CHECK(client == NULL);
    options.name = "calls";
    options.timeout_ms = 60000;
    options.spin_us = -1;
    CHECK(mlos_connect(argv[1], &options, &client) == MLOS_OK);
    models(client);
    mistakes(client);
    runs(client);
    flights(client);
    event_loop(client);
    strings(client);
    end(client);
    puts("all held");
    return 0;
}
